//! Reads `include/libsfu.fbs` and builds messages from it field by field, so that tests of "every field" cannot miss
//! one that is added later.

use std::collections::HashMap;

use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};

#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) list: bool,
    /// Offset in the vtable.
    pub(super) slot: u16,
}

#[derive(Debug, Default)]
pub(super) struct Schema {
    pub(super) tables: HashMap<String, Vec<Field>>,
    pub(super) unions: HashMap<String, Vec<String>>,
    /// Bytes of each scalar and enum.
    pub(super) sizes: HashMap<String, u8>,
}

impl Schema {
    pub(super) fn read() -> Self {
        let text = include_str!("../../../../include/libsfu.fbs");
        let text: String = text.lines().map(|l| l.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join(" ");
        let scalars =
            [("bool", 1), ("ubyte", 1), ("byte", 1), ("uint16", 2), ("uint32", 4), ("int32", 4), ("float", 4)];
        let wide = [("uint64", 8), ("int64", 8), ("double", 8)];
        let mut schema = Self::default();
        schema.sizes.extend(scalars.iter().chain(&wide).map(|(name, size)| ((*name).to_owned(), *size)));
        let mut rest = text.as_str();
        while let Some(open) = rest.find('{') {
            let close = open + rest[open..].find('}').expect("braces are closed");
            let head: Vec<&str> = rest[..open].rsplit(';').next().unwrap_or_default().split_whitespace().collect();
            let body = &rest[open + 1..close];
            match head.as_slice() {
                ["table", name, ..] => {
                    schema.tables.insert((*name).to_owned(), Self::fields(body, &schema.unions));
                }
                ["union", name, ..] => {
                    schema.unions.insert((*name).to_owned(), body.split(',').map(|m| m.trim().to_owned()).collect());
                }
                ["enum", name, ":", base] => {
                    let size = schema.sizes[*base];
                    schema.sizes.insert((*name).to_owned(), size);
                }
                other => panic!("unknown declaration {other:?}"),
            }
            rest = &rest[close + 1..];
        }
        schema
    }

    fn fields(body: &str, unions: &HashMap<String, Vec<String>>) -> Vec<Field> {
        let mut slot = 4;
        let mut fields = Vec::new();
        for declaration in body.split(';').map(str::trim).filter(|d| !d.is_empty()) {
            let (name, kind) = declaration.split_once(':').expect("a field has a type");
            let kind = kind.split(['=', '(']).next().unwrap_or_default().trim();
            let list = kind.starts_with('[');
            let kind = kind.trim_matches(['[', ']']).to_owned();
            // A union has its tag in a slot before its value.
            slot += if unions.contains_key(&kind) { 2 } else { 0 };
            fields.push(Field { name: name.trim().to_owned(), kind, list, slot });
            slot += 2;
        }
        fields
    }
}

/// A value that is written as it is, right or wrong.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Scalar { bits: u64, size: u8 },
    Text(String),
    Scalars { bits: Vec<u64>, size: u8 },
    List(Vec<Value>),
    Table(Vec<(u16, Value)>),
}

type Offset = WIPOffset<UnionWIPOffset>;

/// Writes anything but a bare scalar.
fn write(builder: &mut FlatBufferBuilder<'_>, value: &Value) -> Offset {
    match value {
        Value::Text(text) => builder.create_string(text).as_union_value(),
        Value::Scalars { bits, size: 1 } => {
            let bytes: Vec<u8> = bits.iter().map(|b| *b as u8).collect();
            builder.create_vector(&bytes).as_union_value()
        }
        Value::Scalars { bits, size: 2 } => {
            let words: Vec<u16> = bits.iter().map(|b| *b as u16).collect();
            builder.create_vector(&words).as_union_value()
        }
        Value::Scalars { bits, .. } => builder.create_vector(bits).as_union_value(),
        Value::List(items) => {
            let items: Vec<Offset> = items.iter().map(|item| write(builder, item)).collect();
            builder.create_vector(&items).as_union_value()
        }
        Value::Table(fields) => {
            let children: Vec<Option<Offset>> = fields
                .iter()
                .map(|(_, value)| match value {
                    Value::Scalar { .. } => None,
                    other => Some(write(builder, other)),
                })
                .collect();
            let table = builder.start_table();
            for ((slot, value), child) in fields.iter().zip(children) {
                match (value, child) {
                    (_, Some(child)) => builder.push_slot_always(*slot, child),
                    (Value::Scalar { bits, size: 1 }, _) => builder.push_slot_always(*slot, *bits as u8),
                    (Value::Scalar { bits, size: 2 }, _) => builder.push_slot_always(*slot, *bits as u16),
                    (Value::Scalar { bits, size: 4 }, _) => builder.push_slot_always(*slot, *bits as u32),
                    (Value::Scalar { bits, .. }, _) => builder.push_slot_always(*slot, *bits),
                    (_, None) => unreachable!("all but scalars were written"),
                }
            }
            builder.end_table(table).as_union_value()
        }
        Value::Scalar { .. } => unreachable!("scalars are written in place"),
    }
}

/// The whole message.
pub(super) fn message(root: &Value) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let root = write(&mut builder, root);
    builder.finish_size_prefixed(root, Some(crate::schema::MESSAGE_IDENTIFIER));
    builder.finished_data().to_vec()
}
