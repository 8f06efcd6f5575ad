//! Writing: a tree of tables, from front to back, each table before what it refers to.

/// The fields of a table: where each is in the schema, and what it holds. A place occurs once.
pub(crate) type Fields<'a> = Vec<(u16, Field<'a>)>;

/// What a field holds.
pub(crate) enum Field<'a> {
    I8(i8),
    U8(u8),
    I32(i32),
    U32(u32),
    F32(f32),
    I32s(&'a [i32]),
    I64s(&'a [i64]),
    F32s(&'a [f32]),
    Text(&'a str),
    /// Bytes, of which the first lies on a multiple of 16.
    Bytes(&'a [u8]),
    Table(Fields<'a>),
    Tables(Vec<Fields<'a>>),
}

impl Field<'_> {
    /// Bytes inside the table.
    fn width(&self) -> usize {
        match self {
            Field::I8(_) | Field::U8(_) => 1,
            _ => 4,
        }
    }
}

/// The file with `root`: the same bytes for the same tree.
pub(crate) fn write(identifier: &str, root: Fields<'_>) -> Vec<u8> {
    let mut out = Out { bytes: vec![0; 4] };
    out.bytes.extend_from_slice(identifier.as_bytes());
    let at = out.table(root);
    out.patch(0, at);
    out.align(16, 0);
    out.bytes
}

struct Out {
    bytes: Vec<u8>,
}

impl Out {
    /// Fills up so that what comes `ahead` bytes later lies on a multiple of `to`.
    fn align(&mut self, to: usize, ahead: usize) {
        let at = (self.bytes.len() + ahead).next_multiple_of(to) - ahead;
        self.bytes.resize(at, 0);
    }

    /// Lets the offset at `from` lead to `to`, which lies behind it.
    fn patch(&mut self, from: usize, to: usize) {
        let offset = u32::try_from(to - from).expect("offsets inside a file of less than 4 GB");
        self.bytes[from..from + 4].copy_from_slice(&offset.to_le_bytes());
    }

    /// Writes a table with all that it leads to, and says where it is.
    fn table(&mut self, mut fields: Fields<'_>) -> usize {
        let slots = fields.iter().map(|(slot, _)| usize::from(*slot) + 1).max().unwrap_or(0);
        let layout_bytes = 4 + 2 * slots;
        self.align(4, layout_bytes);
        let layout = self.bytes.len();
        let table = layout + layout_bytes;
        // Wide fields first: then none needs a gap before it.
        fields.sort_by_key(|(slot, field)| (std::cmp::Reverse(field.width()), *slot));
        let mut places = Vec::with_capacity(fields.len());
        let mut size = 4;
        for (_, field) in &fields {
            places.push(size);
            size += field.width();
        }
        self.bytes.resize(table + size, 0);
        let short = |number: usize| u16::try_from(number).expect("a table of fewer than 64 kB").to_le_bytes();
        self.bytes[layout..layout + 2].copy_from_slice(&short(layout_bytes));
        self.bytes[layout + 2..layout + 4].copy_from_slice(&short(size));
        self.bytes[table..table + 4].copy_from_slice(&(layout_bytes as i32).to_le_bytes());
        for ((slot, field), place) in fields.into_iter().zip(places) {
            let entry = layout + 4 + 2 * usize::from(slot);
            self.bytes[entry..entry + 2].copy_from_slice(&short(place));
            self.field(field, table + place);
        }
        table
    }

    fn field(&mut self, field: Field<'_>, at: usize) {
        let behind = match field {
            Field::I8(value) => return self.put(at, value.to_le_bytes()),
            Field::U8(value) => return self.put(at, [value]),
            Field::I32(value) => return self.put(at, value.to_le_bytes()),
            Field::U32(value) => return self.put(at, value.to_le_bytes()),
            Field::F32(value) => return self.put(at, value.to_le_bytes()),
            Field::I32s(values) => {
                self.vector(4, values.len(), values.iter().flat_map(|value| value.to_le_bytes()))
            }
            Field::I64s(values) => {
                self.vector(8, values.len(), values.iter().flat_map(|value| value.to_le_bytes()))
            }
            Field::F32s(values) => {
                self.vector(4, values.len(), values.iter().flat_map(|value| value.to_le_bytes()))
            }
            Field::Bytes(values) => self.vector(16, values.len(), values.iter().copied()),
            Field::Text(text) => {
                let at = self.vector(4, text.len(), text.bytes());
                self.bytes.push(0);
                at
            }
            Field::Table(fields) => self.table(fields),
            Field::Tables(list) => {
                let count = list.len();
                let vector = self.vector(4, count, std::iter::repeat_n(0, 4 * count));
                for (index, fields) in list.into_iter().enumerate() {
                    let table = self.table(fields);
                    self.patch(vector + 4 + 4 * index, table);
                }
                vector
            }
        };
        self.patch(at, behind);
    }

    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        self.bytes[at..at + N].copy_from_slice(&bytes);
    }

    /// Writes a vector whose elements begin on a multiple of `align`, and says where it is.
    fn vector(&mut self, align: usize, count: usize, bytes: impl Iterator<Item = u8>) -> usize {
        self.align(align, 4);
        let at = self.bytes.len();
        let count = u32::try_from(count).expect("vectors of fewer than 2^32 elements");
        self.bytes.extend_from_slice(&count.to_le_bytes());
        self.bytes.extend(bytes);
        at
    }
}
