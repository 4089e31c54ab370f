//! Text columns as codes into a table of distinct values, each value hashed once per row read.
//!
//! | type       | what it is                                              |
//! |------------|---------------------------------------------------------|
//! | [`Table`]  | the distinct values, in the order they were first seen  |
//! | [`Intern`] | finds them by their bytes, and grows while rows arrive  |

use core::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::error::{Error, Result};

/// The distinct values of a text column: value `i` is `bytes[offsets[i]..offsets[i + 1]]`, UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    offsets: Vec<i64>,
    bytes: Vec<u8>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            offsets: vec![0],
            bytes: Vec::new(),
        }
    }
}

impl Table {
    /// Returns the table of `offsets` (one more than values, from 0, ascending) into `bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] naming `column` unless the offsets divide `bytes` into UTF-8 texts.
    pub fn from_parts(column: &'static str, offsets: Vec<i64>, bytes: Vec<u8>) -> Result<Self> {
        let bad = |row| Error::Value {
            column,
            row,
            expected: "offsets from 0 to the length, ascending",
        };
        if offsets.first() != Some(&0) {
            return Err(bad(0));
        }
        let end = offsets.last().and_then(|&last| usize::try_from(last).ok());
        if end != Some(bytes.len()) {
            return Err(bad(offsets.len()));
        }
        for (row, pair) in offsets.windows(2).enumerate() {
            let &[from, to] = pair else { continue };
            let piece = usize::try_from(from)
                .ok()
                .zip(usize::try_from(to).ok())
                .and_then(|(from, to)| bytes.get(from..to))
                .ok_or_else(|| bad(row))?;
            if core::str::from_utf8(piece).is_err() {
                return Err(Error::Value {
                    column,
                    row,
                    expected: "UTF-8 text",
                });
            }
        }
        Ok(Self { offsets, bytes })
    }

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Returns whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of value `code`, or nothing beyond the end.
    pub fn bytes(&self, code: u32) -> Option<&[u8]> {
        let at = usize::try_from(code).ok()?;
        let from = usize::try_from(*self.offsets.get(at)?).ok()?;
        let to = usize::try_from(*self.offsets.get(at.checked_add(1)?)?).ok()?;
        self.bytes.get(from..to)
    }

    /// Returns value `code` as text, or nothing beyond the end.
    pub fn text(&self, code: u32) -> Option<&str> {
        core::str::from_utf8(self.bytes(code)?).ok()
    }

    /// Returns the values in the order of their codes.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0u32..).map_while(|code| self.bytes(code))
    }

    /// Returns the bytes that the table takes.
    pub fn size_bytes(&self) -> usize {
        size_of_val(self.offsets.as_slice()).saturating_add(self.bytes.len())
    }

    /// Returns the offsets and the bytes.
    pub fn into_parts(self) -> (Vec<i64>, Vec<u8>) {
        (self.offsets, self.bytes)
    }
}

/// A [`Table`] whose values are found by their bytes, and that grows.
#[derive(Debug, Clone, Default)]
pub struct Intern {
    table: Table,
    codes: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Code of the last value: in most columns consecutive rows have the same one.
    last: u32,
}

impl Intern {
    /// Returns the values of `table` with their codes; one that is in it twice has its first.
    pub fn of(table: &Table) -> Self {
        let mut intern = Self {
            table: table.clone(),
            ..Self::default()
        };
        for (code, value) in (0u32..).zip(table.iter()) {
            if intern.find(value).is_none() {
                intern.insert(code, value);
            }
        }
        intern
    }

    /// Returns the code of `value`, a new one if it was not seen before; nothing if all codes are
    /// used.
    pub fn code(&mut self, value: &[u8]) -> Option<u32> {
        if self.table.bytes(self.last) == Some(value) {
            return Some(self.last);
        }
        if let Some(code) = self.find(value) {
            self.last = code;
            return Some(code);
        }
        let table = &mut self.table;
        let code = u32::try_from(table.len()).ok()?;
        let end = i64::try_from(table.bytes.len().checked_add(value.len())?).ok()?;
        table.bytes.extend_from_slice(value);
        table.offsets.push(end);
        self.insert(code, value);
        self.last = code;
        Some(code)
    }

    fn insert(&mut self, code: u32, value: &[u8]) {
        let Self {
            table,
            codes,
            hasher,
            ..
        } = self;
        let rehash = |&code: &u32| hasher.hash_one(table.bytes(code).unwrap_or_default());
        codes.insert_unique(hasher.hash_one(value), code, rehash);
    }

    /// Returns the code of `value` if it was seen.
    pub fn find(&self, value: &[u8]) -> Option<u32> {
        let is_it = |&code: &u32| self.table.bytes(code) == Some(value);
        self.codes.find(self.hasher.hash_one(value), is_it).copied()
    }

    /// Returns the table so far.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Returns the table.
    pub fn into_table(self) -> Table {
        self.table
    }

    /// Returns the bytes that it takes.
    pub fn size_bytes(&self) -> usize {
        self.table
            .size_bytes()
            .saturating_add(self.codes.allocation_size())
    }
}

/// Returns `text` without ASCII blanks at its ends.
pub fn trimmed(text: &[u8]) -> &[u8] {
    let from = text.iter().position(|&b| b != b' ').unwrap_or(text.len());
    let to = text
        .iter()
        .rposition(|&b| b != b' ')
        .map_or(from, |last| last.saturating_add(1));
    text.get(from..to).unwrap_or_default()
}

/// Returns `symbol` [`trimmed`] and with ASCII letters in upper case; inner blanks stay. Source:
/// semantics.md, S2.
pub fn normalised(symbol: &[u8]) -> Vec<u8> {
    trimmed(symbol).to_ascii_uppercase()
}

/// Returns whether [`normalised`] leaves `symbol` as it is.
pub fn is_normalised(symbol: &[u8]) -> bool {
    let blank = |end: Option<&u8>| end == Some(&b' ');
    !blank(symbol.first()) && !blank(symbol.last()) && !symbol.iter().any(u8::is_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_seen_again_keeps_its_code() {
        let mut intern = Intern::default();
        assert_eq!(intern.code(b"AAPL"), Some(0));
        assert_eq!(intern.code(b""), Some(1));
        assert_eq!(intern.code(b"AAPL"), Some(0));
        assert_eq!(intern.find(b""), Some(1));
        assert_eq!(intern.find(b"aapl"), None);
        assert!(intern.table().iter().eq([&b"AAPL"[..], b""]));
    }

    #[test]
    fn a_table_is_found_by_its_values() {
        let table = Table::from_parts("symbol", vec![0, 1, 3, 4], b"abca".to_vec()).unwrap();
        let intern = Intern::of(&table);
        let found = [&b"bc"[..], b"a", b"b"].map(|value| intern.find(value));
        assert_eq!(found, [Some(1), Some(0), None]);
    }

    #[test]
    fn offsets_that_do_not_cut_the_bytes_are_refused() {
        for (offsets, bytes, is_right) in [
            (&[0, 2, 1][..], &b"ab"[..], false),
            (&[0, 3], b"ab", false),
            (&[], b"", false),
            (&[0, 1], &[0xff], false),
            (&[0, 1, 2], b"ab", true),
        ] {
            let table = Table::from_parts("symbol", offsets.to_vec(), bytes.to_vec());
            assert_eq!(table.is_ok(), is_right, "{offsets:?}");
        }
    }

    #[test]
    fn blanks_go_only_at_the_ends() {
        assert_eq!(normalised(b"  a aA "), b"A AA");
        assert_eq!(normalised(b"   "), b"");
        let normal = [&b"A AA"[..], b"", b"a", b" A", b"A ", b" "].map(is_normalised);
        assert_eq!(normal, [true, true, false, false, false, false]);
        assert_eq!(normalised("ß ".as_bytes()), "ß".as_bytes());
    }
}
