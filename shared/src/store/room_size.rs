//! About how many connections a room has, without reading them all.

use super::connections::Member;

/// The number of slots: they have 16 bits.
const SLOTS: u64 = 1 << 16;

/// Estimates the size of a room from the first page of its index: slots are evenly spread, so the last one on the page
/// says how much of the room it is.
#[must_use]
pub fn estimate(first_page: &[Member], is_all: bool) -> u64 {
    let read = first_page.len() as u64;
    match first_page.last() {
        Some(last) if !is_all => read * SLOTS / (u64::from(last.connection.slot()) + 1),
        _ => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::ConnectionId;

    #[test]
    fn the_first_page_tells_the_size_of_the_room() {
        let member = |n: u32| Member { connection: ConnectionId::new(&format!("c{n}")), joined_at: 0, expires_at: 0 };
        let mut all: Vec<_> = (0..20_000).map(member).collect();
        all.sort_by_key(|member| member.connection.slot());
        assert_eq!(estimate(&all[..500], true), 500);
        let estimated = estimate(&all[..1_000], false);
        assert!((18_000..22_000).contains(&estimated), "{estimated}");
        assert_eq!(estimate(&[], true), 0);
    }
}
