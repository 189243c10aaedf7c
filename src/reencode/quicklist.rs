//! Lists as quicklist-2 (type 18), for Dragonfly, which takes no other: nodes of listpacks, and long elements alone.

use super::Writing;
use crate::error::{Error, ErrorKind, Result};
use crate::value::{Element, List, listpack};

/// Bytes of a listpack from which on the next node begins, and of an element that stands alone: what servers' default
/// (`list-max-listpack-size -2`) makes.
const NODE: usize = 8 * 1024;
/// The container of a node whose string is the element itself.
const PLAIN: u64 = 1;
/// The container of a node whose string is a listpack.
const PACKED: u64 = 2;

/// Writes the nodes; gives their number and the number of elements.
pub(super) fn list(mut list: List<'_>, writing: &mut Writing<'_>) -> Result<(u64, u64)> {
    let (mut nodes, mut count) = (0u64, 0u64);
    let mut node = listpack::Writer::new();
    while let Some(element) = list.next_element()? {
        count = count.saturating_add(1);
        let length = usize::try_from(element.len()).unwrap_or(usize::MAX);
        if node.len().saturating_add(length) > NODE {
            nodes = nodes.saturating_add(flush(&mut node, writing)?);
        }
        match element {
            Element::Int(value) => node.push_int(value),
            Element::Bytes(bytes) if length <= NODE => node.push(bytes),
            long => {
                writing.body.length(PLAIN)?;
                writing.body.element(&long)?;
                nodes = nodes.saturating_add(1);
            }
        }
    }
    nodes = nodes.saturating_add(flush(&mut node, writing)?);
    Ok((nodes, count))
}

/// Ends the current node; gives how many were written.
fn flush(node: &mut listpack::Writer, writing: &mut Writing<'_>) -> Result<u64> {
    if node.is_empty() {
        return Ok(0);
    }
    let Some(bytes) = std::mem::take(node).finish() else {
        return Err(Error::new(
            ErrorKind::Limit,
            "a node of a list is larger than any listpack",
        ));
    };
    writing.body.length(PACKED)?;
    writing.body.string(&bytes)?;
    Ok(1)
}
