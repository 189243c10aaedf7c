//! Sets of numbers as typed: `0,3,5-9`.

use std::str::FromStr;

/// Some numbers. Sorted ranges that neither overlap nor touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers {
    ranges: Vec<(u64, u64)>,
}

impl Numbers {
    /// Whether `number` is among them.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        let behind = self.ranges.partition_point(|(from, _)| *from <= number);
        behind
            .checked_sub(1)
            .and_then(|at| self.ranges.get(at))
            .is_some_and(|(_, to)| number <= *to)
    }

    /// The largest one.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        self.ranges.last().map(|(_, to)| *to)
    }

    /// Adds those of another set.
    pub fn extend(&mut self, other: &Numbers) {
        self.ranges.extend_from_slice(&other.ranges);
        self.normalise();
    }

    fn normalise(&mut self) {
        self.ranges.sort_unstable();
        self.ranges.dedup_by(|(from, to), (_, before)| {
            let touches = *from <= before.saturating_add(1);
            if touches {
                *before = (*before).max(*to);
            }
            touches
        });
    }
}

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| {
            digits
                .trim()
                .parse::<u64>()
                .map_err(|_| format!("{text:?} is no list of numbers like 0,3,5-9"))
        };
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (from, to) = match part.split_once('-') {
                Some((from, to)) => (number(from)?, number(to)?),
                None => (number(part)?, number(part)?),
            };
            if from > to {
                return Err(format!("{part:?} runs backwards"));
            }
            ranges.push((from, to));
        }
        let mut numbers = Self { ranges };
        numbers.normalise();
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges() {
        let numbers: Numbers = "5-9,0,3,4,100,7-12".parse().unwrap();
        assert_eq!(numbers.ranges, [(0, 0), (3, 12), (100, 100)]);
        for n in 0..120u64 {
            assert_eq!(
                numbers.contains(n),
                n == 0 || (3..=12).contains(&n) || n == 100,
                "{n}"
            );
        }
        assert_eq!(numbers.max(), Some(100));
        let mut more: Numbers = "1".parse().unwrap();
        more.extend(&numbers);
        assert_eq!(more.ranges, [(0, 1), (3, 12), (100, 100)]);
        assert!(
            "0-18446744073709551615"
                .parse::<Numbers>()
                .unwrap()
                .contains(u64::MAX)
        );
        for bad in [
            "",
            "a",
            "1,",
            "3-1",
            "-1",
            "1-",
            "1--2",
            "18446744073709551616",
        ] {
            assert!(bad.parse::<Numbers>().is_err(), "{bad}");
        }
    }
}
