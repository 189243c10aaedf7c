//! A stream's consumers, and the pending entries that each of them owes.

use super::found::{Spot, What};
use super::stream::{ENTRIES, held, id_text, map_items, names, stream_id};
use super::typed::Judged;
use crate::error::{Escaped, Result};
use crate::resp::{Talk, Token};
use crate::value::{Lenient, Pending, Stream};

/// Consumers, and what each of them owes.
pub(super) fn owners(
    talk: &mut Talk<'_>,
    key: &[u8],
    ahead: &mut Stream<'_, Lenient>,
    own: &mut Stream<'_, Lenient>,
    judged: &mut Judged,
) -> Result<()> {
    while let Some(group) = own.next_group()? {
        let Some(group) = held(&group.name)? else {
            judged.refuse(b"the name of a group is too long to be asked for");
            return Ok(());
        };
        ahead.next_group()?;
        consumers(talk, key, &group, ahead, judged)?;
        while !judged.is_over() {
            let Some(consumer) = own.next_consumer()? else {
                break;
            };
            let Some(consumer) = held(&consumer.name)? else {
                judged.refuse(b"the name of a consumer is too long to be asked for");
                return Ok(());
            };
            while !judged.is_over() {
                let mut window = Vec::with_capacity(ENTRIES);
                while window.len() < ENTRIES
                    && let Some(pending) = own.next_owned()?
                {
                    window.push(pending);
                }
                if window.is_empty() {
                    break;
                }
                pending(talk, key, &group, &consumer, &window, judged)?;
            }
        }
        if own.next_nacked()?.is_some() {
            judged.refuse(b"it has entries that were given back, which only DUMP shows");
        }
        if judged.is_over() || !judged.found.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}

fn consumers(
    talk: &mut Talk<'_>,
    key: &[u8],
    group: &[u8],
    ahead: &mut Stream<'_, Lenient>,
    judged: &mut Judged,
) -> Result<()> {
    talk.command(&[b"XINFO", b"CONSUMERS", key, group])?;
    talk.flush()?;
    let mut left = match talk.token()? {
        Token::Array(there) => there,
        Token::Nil => 0,
        Token::Error(words) => {
            judged.refuse(words);
            return Ok(());
        }
        _ => return Err(talk.out_of_step("consumers were asked for, and something else came")),
    };
    while let Some(consumer) = ahead.next_consumer()? {
        let spot = || Spot::Consumer(group.to_vec(), Spot::name(&consumer.name));
        if left == 0 {
            judged
                .found
                .add(What::Consumer, spot(), "missing at the destination");
            return Ok(());
        }
        left = left.saturating_sub(1);
        let Token::Array(items) = talk.token()? else {
            return Err(talk.out_of_step("a consumer was expected"));
        };
        let (mut other, mut pending) = (true, None);
        map_items(talk, items, |talk, name| {
            match name {
                b"name" => other = !names(talk, &consumer.name)?,
                b"pending" => {
                    if let Token::Integer(count) = talk.token()? {
                        pending = u64::try_from(count).ok();
                    }
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if other {
            judged
                .found
                .add(What::Consumer, spot(), "missing at the destination");
            return talk.skip_replies(left);
        }
        if pending != Some(consumer.pending) {
            judged.found.add(
                What::Pending,
                spot(),
                format!(
                    "{} pending in the file, {} at the destination",
                    consumer.pending,
                    pending.map_or_else(|| "an unknown number".to_owned(), |n| n.to_string())
                ),
            );
        }
    }
    if left > 0 {
        judged.found.add(
            What::Consumer,
            Spot::Group(group.to_vec()),
            format!("the destination has {left} more"),
        );
    }
    talk.skip_replies(left)
}

/// Some of the entries that a consumer owes, by rising ID.
fn pending(
    talk: &mut Talk<'_>,
    key: &[u8],
    group: &[u8],
    consumer: &[u8],
    window: &[Pending],
    judged: &mut Judged,
) -> Result<()> {
    let (Some(first), Some(last)) = (window.first(), window.last()) else {
        return Ok(());
    };
    talk.begin(7);
    for arg in [
        &b"XPENDING"[..],
        key,
        group,
        id_text(first.id).as_bytes(),
        id_text(last.id).as_bytes(),
    ] {
        talk.arg(arg)?;
    }
    talk.arg_number((window.len() as u64).saturating_add(1))?;
    talk.arg(consumer)?;
    talk.flush()?;
    let there = match talk.token()? {
        Token::Array(there) => there,
        Token::Nil => 0,
        Token::Error(words) => {
            judged.refuse(words);
            return Ok(());
        }
        _ => {
            return Err(talk.out_of_step("pending entries were asked for, and something else came"));
        }
    };
    let mut own = window.iter();
    let mut stepped = true;
    for _ in 0..there {
        let Token::Array(items @ 2..) = talk.token()? else {
            return Err(talk.out_of_step("a pending entry was expected"));
        };
        let id = stream_id(talk)?;
        let mut left = items.saturating_sub(1);
        let mut deliveries = None;
        while left > 0 {
            left = left.saturating_sub(1);
            match talk.token()? {
                // Behind the consumer's name and the idle time: the last one stays.
                Token::Integer(number) => deliveries = u64::try_from(number).ok(),
                Token::Array(more) => left = left.saturating_add(more),
                _ => {}
            }
        }
        if !stepped {
            continue;
        }
        let Some(mine) = own.next() else {
            stepped = false;
            continue;
        };
        let spot = || Spot::Pending(group.to_vec(), mine.id);
        if id != Some(mine.id) {
            judged.found.add(
                What::Pending,
                spot(),
                format!(
                    "not pending for consumer {} at the destination",
                    Escaped(consumer)
                ),
            );
            stepped = false;
        } else if deliveries != Some(mine.delivery_count) {
            judged.found.add(
                What::Pending,
                spot(),
                format!(
                    "delivered {} times in the file, {} at the destination",
                    mine.delivery_count,
                    deliveries.unwrap_or_default()
                ),
            );
        }
    }
    if stepped && let Some(mine) = own.next() {
        judged.found.add(
            What::Pending,
            Spot::Pending(group.to_vec(), mine.id),
            format!(
                "not pending for consumer {} at the destination",
                Escaped(consumer)
            ),
        );
    }
    Ok(())
}
