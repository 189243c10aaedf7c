//! How long the destination worked on one `RESTORE`, by its own count, which no network and no other client is in:
//! `INFO commandstats` before and behind it.

use std::time::Duration;

use crate::error::Result;
use crate::resp::{Arg, Connection};

/// What it says of all `RESTORE` so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Worked {
    calls: u64,
    us: u64,
}

impl Worked {
    /// Asks. `None` where it does not say.
    ///
    /// # Errors
    /// The connection fails.
    pub(super) fn ask(connection: &mut Connection) -> Result<Option<Self>> {
        let reply = connection.request(&[Arg::from("INFO"), Arg::from("commandstats")])?;
        let text = reply.text().map(|text| String::from_utf8_lossy(text));
        Ok(text.and_then(|text| Self::read(&text)))
    }

    fn read(text: &str) -> Option<Self> {
        if !text.contains("ommandstats") {
            return None;
        }
        let line = text
            .lines()
            .find_map(|line| line.trim_end().strip_prefix("cmdstat_restore:"));
        // Nobody has asked for any yet.
        let Some(line) = line else {
            return Some(Self::default());
        };
        let number = |name: &str| {
            line.split(',')
                .find_map(|field| field.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        Some(Self {
            calls: number("calls")?,
            us: number("usec")?,
        })
    }

    /// How long the one call took that lies between the two. `None` where there was none, or others were of more weight.
    pub(super) fn since(self, before: Self) -> Option<Duration> {
        let others = self.calls.checked_sub(before.calls)?.checked_sub(1)?;
        let all = self.us.checked_sub(before.us)?;
        let usual = before.us.checked_div(before.calls).unwrap_or(0);
        let of_others = usual.saturating_mul(others);
        (of_others <= all / 2).then(|| Duration::from_micros(all.saturating_sub(of_others)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_is_told_from_the_others() {
        let read = |text: &str| Worked::read(text);
        assert_eq!(read("# Server\r\nredis_version:7.0.0\r\n"), None);
        let none = read("# Commandstats\r\ncmdstat_ping:calls=1,usec=2\r\n").unwrap();
        assert_eq!(none, Worked::default());
        let all = "# Commandstats\r\ncmdstat_restore:calls=11,usec=1100,usec_per_call=100.00\r\n";
        let before = read(all).unwrap();
        let after = |calls, us| Worked { calls, us }.since(before);
        let ms = Duration::from_millis;
        assert_eq!(after(12, 6100), Some(ms(5)));
        assert_eq!(after(22, 7100), Some(ms(5)), "ten small ones beside it");
        assert_eq!(after(1000, 7100), None, "mostly others");
        assert_eq!(after(11, 1100), None);
        assert_eq!(after(3, 10), None, "it began anew");
    }
}
