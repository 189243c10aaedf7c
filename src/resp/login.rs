//! Logging in again on a connection that is open: tokens of managed services expire, and a connection with them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::secret::{Secret, SecretSource};
use crate::error::{ErrorKind, Result};

/// What was read for one connection is good enough for another one so soon after.
const SHARED_FOR: Duration = Duration::from_secs(5);

/// When and with what the connections of one [`super::Connector`] log in again.
#[derive(Clone)]
pub struct Reauth {
    every: Duration,
    source: SecretSource,
    last: Arc<Mutex<Option<(Instant, Secret)>>>,
}

/// Without the secret.
impl std::fmt::Debug for Reauth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reauth")
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

impl Reauth {
    /// Every so often, with what `source` gives then.
    #[must_use]
    pub fn new(every: Duration, source: SecretSource) -> Self {
        Self {
            every,
            source,
            last: Arc::default(),
        }
    }

    /// A secret that was read just now: many connections do not each run a command for it.
    fn fresh(&self) -> Result<Option<Secret>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let shared_for = SHARED_FOR.min(self.every.checked_div(4).unwrap_or_default());
        if let Some((read, secret)) = &*last
            && read.elapsed() < shared_for
        {
            return Ok(Some(secret.clone()));
        }
        let secret = (self.source)()?;
        *last = secret.clone().map(|secret| (Instant::now(), secret));
        Ok(secret)
    }
}

/// The login of one connection.
pub(super) struct Login {
    reauth: Reauth,
    pub(super) user: Option<String>,
    since: Instant,
    /// How long it holds.
    holds: Duration,
}

impl Login {
    /// One that was just done.
    pub(super) fn new(reauth: Reauth, user: Option<String>) -> Self {
        Self {
            since: Instant::now(),
            holds: reauth.every,
            reauth,
            user,
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.since.elapsed() >= self.holds
    }

    /// The secret to log in with now. `None` where none can be had at the moment: the login stays what it is, and it is tried
    /// again soon.
    ///
    /// # Errors
    /// `Interrupted`.
    pub(super) fn secret(&mut self) -> Result<Option<Secret>> {
        let every = self.reauth.every;
        let (secret, holds) = match self.reauth.fresh() {
            Ok(Some(secret)) => (Some(secret), every),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Ok(None) | Err(_) => (None, every.checked_div(10).unwrap_or_default()),
        };
        (self.since, self.holds) = (Instant::now(), holds);
        Ok(secret)
    }
}
