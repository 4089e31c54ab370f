//! Rows that belong to others: found by uuid, grouped by their owner.

use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::frame::index;
use crate::ids::Uuid;

/// Rows of a frame grouped by their owner: those of owner `i` are `rows[starts[i]..starts[i + 1]]`.
#[derive(Debug, Default)]
pub struct Groups {
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl Groups {
    /// Groups the rows of `keys` by the row of `owners` that has their key; rows without owner are
    /// left out.
    #[must_use]
    pub fn by_key(keys: &[Uuid], owners: &HashMap<Uuid, u32>, count: usize) -> Self {
        // rows of one owner often follow each other
        let mut last: Option<(&Uuid, Option<u32>)> = None;
        let owner = |key| match last {
            Some((known, owner)) if known == key => owner,
            _ => {
                let owner = owners.get(key).copied();
                last = Some((key, owner));
                owner
            }
        };
        let found: Vec<_> = keys.iter().map(owner).collect();
        Self::of(&found, count)
    }

    /// Groups the rows of `owners`; rows without owner are left out.
    #[must_use]
    pub fn of(owners: &[Option<u32>], count: usize) -> Self {
        let mut starts = vec![0u32; count.saturating_add(1)];
        for owner in owners.iter().flatten() {
            if let Some(start) = starts.get_mut(index(*owner).saturating_add(1)) {
                *start = start.saturating_add(1);
            }
        }
        let mut total = 0u32;
        for start in &mut starts {
            total = total.saturating_add(*start);
            *start = total;
        }
        let mut next = starts.clone();
        let mut rows = vec![0u32; index(total)];
        for (row, owner) in (0u32..).zip(owners) {
            let Some(slot) = owner.and_then(|owner| next.get_mut(index(owner))) else {
                continue;
            };
            if let Some(place) = rows.get_mut(index(*slot)) {
                *place = row;
            }
            *slot = slot.saturating_add(1);
        }
        Self { starts, rows }
    }

    /// Returns the rows of an owner, ascending.
    #[must_use]
    pub fn get(&self, owner: usize) -> &[u32] {
        let range = self
            .starts
            .get(owner)
            .zip(self.starts.get(owner.saturating_add(1)));
        let Some((&from, &to)) = range else {
            return &[];
        };
        self.rows.get(index(from)..index(to)).unwrap_or_default()
    }
}

/// Returns the row of each uuid.
///
/// # Errors
///
/// [`Error::Duplicate`] naming `column` if one stands in two rows.
pub fn rows_by_id(column: &'static str, ids: &[Uuid]) -> Result<HashMap<Uuid, u32>> {
    let mut rows = HashMap::with_capacity(ids.len());
    for (row, id) in (0u32..).zip(ids) {
        if let Some(first) = rows.insert(*id, row) {
            return Err(Error::Duplicate {
                column,
                row: index(row),
                first: index(first),
            });
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_grouped_by_owner_in_their_order() {
        let groups = Groups::of(&[Some(2), None, Some(0), Some(2)], 3);
        assert_eq!(groups.get(0), [2]);
        assert_eq!(groups.get(1), []);
        assert_eq!(groups.get(2), [0, 3]);
        assert_eq!(groups.get(3), []);
    }
}
