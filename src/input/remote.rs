//! Addresses that are no files. This program opens no connection to fetch a dump; it says the one line that does.

use std::path::Path;

use super::{Options, shell_word};
use crate::error::{Error, ErrorKind};

/// The error for a `path` that is an address, or `None` where it is a path. A file of that name comes first.
pub(super) fn refuse(path: &Path, options: &Options) -> Option<Error> {
    let text = path.to_str()?;
    let (scheme, rest) = text.split_once("://")?;
    if scheme.is_empty()
        || !scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        || path.exists()
    {
        return None;
    }
    let scheme = scheme.to_ascii_lowercase();
    let hint = match scheme.as_str() {
        "s3" => options.piped(&format!("aws s3 cp {} -", shell_word(text))),
        "gs" => options.piped(&format!("gcloud storage cat {}", shell_word(text))),
        "az" => match rest.split_once('/') {
            Some((container, blob)) => options.piped(&format!(
                "az storage blob download --no-progress --container-name {} --name {}",
                shell_word(container),
                shell_word(blob)
            )),
            None => "name it as az://CONTAINER/BLOB".into(),
        },
        "http" | "https" | "ftp" | "ftps" | "sftp" => match without_secrets(text, rest) {
            None => options.piped(&format!("curl -fsSL {}", shell_word(text))),
            Some(_) => format!(
                "{} (the whole address in quotes)",
                options.piped("curl -fsSL 'ADDRESS'")
            ),
        },
        "file" => format!("name it as {}", shell_word(rest)),
        "redis" | "rediss" | "valkey" | "valkeys" | "unix" => {
            "a server is a destination: `--to URL`; its data become a file by `redis-cli -u URL --rdb dump.rdb`".into()
        }
        _ => options.piped("fetch it with the tool for such addresses"),
    };
    let shown = match without_secrets(text, rest) {
        None => text.to_owned(),
        Some(shortened) => shortened,
    };
    Some(
        Error::new(
            ErrorKind::Usage,
            "is an address, and only files and `-` are read",
        )
        .or_input(shown)
        .with_hint(hint),
    )
}

/// An address without what may be a secret (a password in front of the host, a signature behind the `?`), or `None` where it
/// has neither.
fn without_secrets(text: &str, rest: &str) -> Option<String> {
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(host_end);
    let user_end = host.rfind('@').map_or(0, |at| at + 1);
    let path_end = path.find(['?', '#']).unwrap_or(path.len());
    if user_end == 0 && path_end == path.len() {
        return None;
    }
    let scheme = &text[..text.len() - rest.len()];
    let more = if path_end < path.len() { "?…" } else { "" };
    Some(format!(
        "{scheme}{}{}{more}",
        &host[user_end..],
        &path[..path_end]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(path: &str) -> String {
        let mut options = Options::new("/tmp");
        options.command = "rdbridge load".into();
        let error = refuse(Path::new(path), &options)
            .unwrap_or_else(|| panic!("{path} is taken for a path"));
        assert_eq!(error.kind(), ErrorKind::Usage);
        error.to_string()
    }

    #[test]
    fn an_address_ends_with_the_line_that_works() {
        for (path, line) in [
            ("s3://b/k", "; aws s3 cp s3://b/k - | rdbridge load - …"),
            (
                "S3://b/my key.rdb",
                "; aws s3 cp 'S3://b/my key.rdb' - | rdbridge load - …",
            ),
            (
                "gs://b/k",
                "; gcloud storage cat gs://b/k | rdbridge load - …",
            ),
            (
                "az://c/d/e",
                "--container-name c --name d/e | rdbridge load - …",
            ),
            (
                "https://host/dump.rdb",
                "; curl -fsSL https://host/dump.rdb | rdbridge load - …",
            ),
            ("file:///srv/dump.rdb", "name it as /srv/dump.rdb"),
            ("redis://host:6379", "--to"),
        ] {
            let message = message(path);
            assert!(message.contains(line), "{message}");
        }
    }

    #[test]
    fn a_secret_in_an_address_is_not_shown() {
        for path in [
            "https://user:hunter2@host/k",
            "https://host/k?X-Amz-Signature=hunter2&b=c",
            "redis://:hunter2@host:6379/0",
            "https://user:hunter2@host",
            "https://user:p@hunter2@host/a#hunter2",
        ] {
            let message = message(path);
            assert!(!message.contains("hunter2"), "{message}");
            assert!(message.contains("host"), "{message}");
        }
    }

    #[test]
    fn a_path_is_a_path() {
        let options = Options::new("/tmp");
        for path in ["dump.rdb", "a:b", "/x/s3:/y", "://x", "dir with space://x"] {
            assert!(refuse(Path::new(path), &options).is_none(), "{path}");
        }
    }
}
