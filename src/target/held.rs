//! How many keys a destination holds, by its section `# Keyspace`.

/// Keys of all databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// All of them.
    pub keys: u64,
    /// Those without an expiry, where it says how many have one.
    pub lasting: Option<u64>,
}

impl Held {
    /// None at all.
    pub const NOTHING: Self = Self {
        keys: 0,
        lasting: Some(0),
    };

    /// Reads the text of `INFO`; `None` where the section is not in it.
    #[must_use]
    pub fn read(info: &str) -> Option<Self> {
        // An empty server has the section's heading and no line below it.
        if !info.contains("# Keyspace") {
            return None;
        }
        let lines = info.lines().filter_map(|line| {
            let (name, value) = line.trim_end().split_once(':')?;
            name.strip_prefix("db")?.parse::<u64>().ok()?;
            let mut fields = value.split(',').filter_map(|field| field.split_once('='));
            let mut number = |name: &str| fields.find(|(n, _)| *n == name)?.1.parse::<u64>().ok();
            let keys = number("keys")?;
            Some(Self {
                keys,
                lasting: number("expires").map(|expires| keys.saturating_sub(expires)),
            })
        });
        Some(lines.fold(Self::NOTHING, Self::and))
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let lasting = self.lasting.zip(other.lasting);
        Self {
            keys: self.keys.saturating_add(other.keys),
            lasting: lasting.map(|(a, b)| a.saturating_add(b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_all_databases() {
        let read = |text| Held::read(text).map(|held| (held.keys, held.lasting));
        let text = "# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=0\r\ndb5:keys=4,expires=0\r\n";
        assert_eq!(read(text), Some((7, Some(6))));
        assert_eq!(read("# Keyspace\r\ndb0:keys=3\r\n"), Some((3, None)));
        assert_eq!(read("# Keyspace\r\n"), Some((0, Some(0))));
        assert_eq!(read(""), None);
    }
}
