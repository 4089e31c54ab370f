//! Rows grouped by their owner, which is found by uuid.

use crate::error::{Error, Result};
use crate::frame::index;
use crate::ids::Uuid;

/// Rows of a frame grouped by their owner: those of owner `i` are `rows[starts[i]..starts[i + 1]]`.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl Groups {
    /// Groups the rows of `keys` by the row of `owners` with the same key; rows without owner are
    /// left out.
    pub(crate) fn by_key(keys: &[Uuid], owners: &Owners<'_>) -> Self {
        // rows of one owner often follow each other
        let mut last: Option<(&Uuid, Option<u32>)> = None;
        let owner = |key| match last {
            Some((known, owner)) if known == key => owner,
            _ => {
                let owner = owners.find(key);
                last = Some((key, owner));
                owner
            }
        };
        let found: Vec<_> = keys.iter().map(owner).collect();
        Self::of(&found, owners.len())
    }

    /// Groups the rows of `owners`; rows without owner are left out.
    pub(crate) fn of(owners: &[Option<u32>], count: usize) -> Self {
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
    pub(crate) fn get(&self, owner: usize) -> &[u32] {
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

/// The rows of distinct uuids.
#[derive(Debug)]
pub(crate) enum Owners<'a> {
    /// Ascending, as ids made in the order of time are: found by binary search.
    Ascending(&'a [Uuid]),
    /// In any other order: sorted by their bytes, with their rows. Ids that nearly ascend are
    /// sorted in hardly more than one pass; a hash map takes longer.
    Sorted(Vec<(u128, u32)>),
}

impl<'a> Owners<'a> {
    /// Returns the rows of `ids`.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`] naming `column` if one is in two rows.
    pub(crate) fn of(column: &'static str, ids: &'a [Uuid]) -> Result<Self> {
        if ids.is_sorted_by(|one, next| number(one) < number(next)) {
            return Ok(Self::Ascending(ids));
        }
        let mut sorted: Vec<_> = ids.iter().map(number).zip(0u32..).collect();
        sorted.sort_by_key(|&(id, _)| id);
        let again = sorted
            .iter()
            .zip(sorted.iter().skip(1))
            .filter(|((id, _), (next, _))| id == next)
            .min_by_key(|(_, (_, row))| *row);
        if let Some((&(_, first), &(_, row))) = again {
            return Err(Error::Duplicate {
                column,
                row: index(row),
                first: index(first),
            });
        }
        Ok(Self::Sorted(sorted))
    }

    /// Returns the row of a uuid, if there is one.
    pub(crate) fn find(&self, id: &Uuid) -> Option<u32> {
        match self {
            Self::Ascending(ids) => {
                let row = ids.binary_search_by_key(&number(id), number).ok()?;
                u32::try_from(row).ok()
            }
            Self::Sorted(sorted) => {
                let place = sorted
                    .binary_search_by_key(&number(id), |&(id, _)| id)
                    .ok()?;
                sorted.get(place).map(|&(_, row)| row)
            }
        }
    }

    /// Returns the number of uuids.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Ascending(ids) => ids.len(),
            Self::Sorted(sorted) => sorted.len(),
        }
    }
}

/// Returns a number with the order of the bytes.
fn number(id: &Uuid) -> u128 {
    u128::from_be_bytes(*id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: u8, last: u8) -> Uuid {
        let mut id = [0; 16];
        id[0] = first;
        id[15] = last;
        id
    }

    #[test]
    fn a_uuid_in_two_rows_is_refused_wherever_they_are() {
        for ids in [vec![id(0, 1), id(0, 1)], vec![id(3, 0), id(0, 1), id(3, 0)]] {
            let error = Owners::of("ids", &ids).unwrap_err();
            let row = ids.len() - 1;
            assert!(
                matches!(error, Error::Duplicate { column: "ids", row: at, first: 0 } if at == row)
            );
        }
    }
}
