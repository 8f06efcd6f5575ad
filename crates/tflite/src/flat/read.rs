//! Reading, with every offset checked.
//!
//! Tables may lie on top of each other in a hostile file, so that copies of what they hold could be far larger than the
//! file: what is read counts against a budget.

use std::cell::Cell;

use crate::error::{Result, TfliteError};

/// A file and what may still be read of it.
pub(crate) struct Flat<'a> {
    bytes: &'a [u8],
    budget: Cell<usize>,
}

/// Where a table lies.
#[derive(Clone, Copy)]
pub(crate) struct Table<'f, 'a> {
    flat: &'f Flat<'a>,
    at: usize,
    vtable: usize,
    vtable_bytes: usize,
}

fn outside(what: &str, at: usize) -> TfliteError {
    TfliteError::malformed(format!("expected {what} inside the file, found it to leave it at byte {at}"))
}

impl<'a> Flat<'a> {
    /// A file; its identifier must be `identifier`.
    pub(crate) fn new(bytes: &'a [u8], identifier: &str) -> Result<Self> {
        if bytes.get(4..8) != Some(identifier.as_bytes()) {
            return Err(TfliteError::malformed(format!(
                "expected the identifier {identifier} at byte 4, found another"
            )));
        }
        // Files share some strings and vectors; sixteen times its size is what no honest file needs.
        Ok(Self { bytes, budget: Cell::new(bytes.len().saturating_mul(16)) })
    }

    /// All of the file.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn root(&self) -> Result<Table<'_, 'a>> {
        self.table(self.follow(0)?)
    }

    fn spend(&self, bytes: usize) -> Result<()> {
        let left = self.budget.get().checked_sub(bytes);
        self.budget.set(left.unwrap_or(0));
        left.map(|_| ()).ok_or_else(|| {
            TfliteError::malformed(
                "expected tables beside each other, found so many on top of each other that what \
                they hold is more than sixteen times the file",
            )
        })
    }

    fn read<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        let end = at.checked_add(N).ok_or_else(|| outside("a field", at))?;
        let bytes = self.bytes.get(at..end).ok_or_else(|| outside("a field", at))?;
        bytes.try_into().map_err(|_| outside("a field", at))
    }

    /// Where the offset at `at` leads.
    fn follow(&self, at: usize) -> Result<usize> {
        let offset = u32::from_le_bytes(self.read(at)?) as usize;
        at.checked_add(offset)
            .filter(|to| *to < self.bytes.len())
            .ok_or_else(|| outside("a table or vector", at))
    }

    fn table(&self, at: usize) -> Result<Table<'_, 'a>> {
        self.spend(8)?;
        let back = i64::from(i32::from_le_bytes(self.read(at)?));
        let vtable = usize::try_from(at as i64 - back).map_err(|_| outside("a table's layout", at))?;
        let vtable_bytes = usize::from(u16::from_le_bytes(self.read(vtable)?));
        Ok(Table { flat: self, at, vtable, vtable_bytes })
    }

    /// The elements of the vector at `at`, each of `width` bytes: how many, and their bytes.
    fn vector(&self, at: usize, width: usize) -> Result<(usize, &'a [u8])> {
        let count = u32::from_le_bytes(self.read(at)?) as usize;
        let start = at + 4;
        let end = count.checked_mul(width).and_then(|bytes| start.checked_add(bytes));
        let bytes = end.and_then(|end| self.bytes.get(start..end)).ok_or_else(|| outside("a vector", at))?;
        self.spend(bytes.len() + 4)?;
        Ok((count, bytes))
    }
}

impl<'f, 'a> Table<'f, 'a> {
    /// Where field `slot` lies, if it is there.
    fn field(&self, slot: u16) -> Result<Option<usize>> {
        let entry = 4 + 2 * usize::from(slot);
        if entry + 2 > self.vtable_bytes {
            return Ok(None);
        }
        let offset = usize::from(u16::from_le_bytes(self.flat.read(self.vtable + entry)?));
        Ok((offset != 0).then_some(self.at + offset))
    }

    fn number<const N: usize>(&self, slot: u16) -> Result<Option<[u8; N]>> {
        self.field(slot)?.map(|at| self.flat.read(at)).transpose()
    }

    pub(crate) fn u8(&self, slot: u16) -> Result<u8> {
        Ok(self.number(slot)?.map_or(0, u8::from_le_bytes))
    }

    pub(crate) fn i8(&self, slot: u16) -> Result<i8> {
        Ok(self.number(slot)?.map_or(0, i8::from_le_bytes))
    }

    pub(crate) fn u32(&self, slot: u16) -> Result<u32> {
        Ok(self.number(slot)?.map_or(0, u32::from_le_bytes))
    }

    pub(crate) fn u64(&self, slot: u16) -> Result<u64> {
        Ok(self.number(slot)?.map_or(0, u64::from_le_bytes))
    }

    pub(crate) fn i32_or(&self, slot: u16, default: i32) -> Result<i32> {
        Ok(self.number(slot)?.map_or(default, i32::from_le_bytes))
    }

    pub(crate) fn f32(&self, slot: u16) -> Result<f32> {
        Ok(self.number(slot)?.map_or(0.0, f32::from_le_bytes))
    }

    pub(crate) fn table(&self, slot: u16) -> Result<Option<Table<'f, 'a>>> {
        self.field(slot)?.map(|at| self.flat.table(self.flat.follow(at)?)).transpose()
    }

    pub(crate) fn tables(&self, slot: u16) -> Result<Vec<Table<'f, 'a>>> {
        let Some(at) = self.field(slot)? else { return Ok(Vec::new()) };
        let at = self.flat.follow(at)?;
        let (count, _) = self.flat.vector(at, 4)?;
        (0..count).map(|index| self.flat.table(self.flat.follow(at + 4 + 4 * index)?)).collect()
    }

    pub(crate) fn text(&self, slot: u16) -> Result<String> {
        Ok(String::from_utf8_lossy(self.blob(slot)?.unwrap_or_default()).into_owned())
    }

    pub(crate) fn blob(&self, slot: u16) -> Result<Option<&'a [u8]>> {
        self.field(slot)?.map(|at| Ok(self.flat.vector(self.flat.follow(at)?, 1)?.1)).transpose()
    }

    fn numbers<const N: usize, T>(&self, slot: u16, read: fn([u8; N]) -> T) -> Result<Vec<T>> {
        let Some(at) = self.field(slot)? else { return Ok(Vec::new()) };
        let (_, bytes) = self.flat.vector(self.flat.follow(at)?, N)?;
        Ok(bytes.as_chunks::<N>().0.iter().map(|bytes| read(*bytes)).collect())
    }

    pub(crate) fn i32s(&self, slot: u16) -> Result<Vec<i32>> {
        self.numbers(slot, i32::from_le_bytes)
    }

    pub(crate) fn i64s(&self, slot: u16) -> Result<Vec<i64>> {
        self.numbers(slot, i64::from_le_bytes)
    }

    pub(crate) fn f32s(&self, slot: u16) -> Result<Vec<f32>> {
        self.numbers(slot, f32::from_le_bytes)
    }
}
