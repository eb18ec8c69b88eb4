//! Tests: descriptions from random and damaged bytes.

use super::{DescriptionError, Field, Node, NodeId, TypeDescription, Variant};
use std::fmt::Write;

/// Xorshift, so that a failure can be repeated from the seed it prints.
struct Random(u64);

impl Random {
    /// Seeded by `SAL_TEST_SEED` or the clock.
    fn new() -> Self {
        let seed = std::env::var("SAL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |now| now.as_nanos() as u64)
        });
        println!("SAL_TEST_SEED={seed}");
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    /// Small, or near a power of two.
    fn number(&mut self) -> u64 {
        match self.below(3) {
            0 => self.below(300),
            1 => u64::MAX >> self.below(64),
            _ => (1 << self.below(64)) ^ self.below(2),
        }
    }

    fn name(&mut self) -> String {
        ["", "a", "b", "krate::Type", "other::Type", "Ünïcødé", "Vec<u8>"][self.below(7) as usize].to_owned()
    }

    fn list<T>(&mut self, most: u64, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| item(self)).collect()
    }

    fn fields(&mut self, nodes: u64) -> Vec<Field> {
        self.list(3, |random| Field {
            name: random.name().into(),
            offset: random.number(),
            node: NodeId(random.below(nodes) as u32),
        })
    }

    fn node(&mut self, nodes: u64) -> Node {
        let align = 1 << self.below(5);
        let size = align * self.below(20);
        let name = self.name().into();
        match self.below(5) {
            0 => Node::Leaf { id: self.number(), name, size, align },
            1 => Node::Struct { name, size, align, fields: self.fields(nodes) },
            2 => {
                let variants = self.list(3, |random| Variant {
                    name: random.name().into(),
                    discriminant: i128::from(random.next() as i64) << random.below(65),
                    fields: random.fields(nodes),
                });
                Node::Enum { name, size, align, tag_size: self.below(9), variants }
            }
            3 => Node::Array { len: self.number(), element: NodeId(self.below(nodes) as u32) },
            _ => Node::Container {
                id: self.number(),
                name,
                size,
                align,
                layout_version: self.next() as u32,
                parameters: self.list(3, |random| NodeId(random.below(nodes) as u32)),
                probe: self.list(4, Self::number),
            },
        }
    }

    fn description(&mut self) -> TypeDescription {
        let nodes = 1 + self.below(8);
        TypeDescription {
            nodes: (0..nodes).map(|_| self.node(nodes)).collect(),
            root: NodeId(self.below(nodes) as u32),
        }
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() as u64 + 1) as usize;
            match self.below(4) {
                0 => bytes.insert(at, self.next() as u8),
                1 => bytes.truncate(at),
                _ if at == bytes.len() => bytes.push(0xff),
                2 => bytes[at] ^= 1 << self.below(8),
                _ => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5) as usize],
            }
        }
    }
}

/// Everything that is done with a description from a file.
fn use_up(description: &TypeDescription, asked: &TypeDescription) {
    let mut text = String::new();
    write!(text, "{description}").expect("a string takes all");
    if let Some(difference) = description.difference(asked) {
        write!(text, "{difference}").expect("a string takes all");
    }
    assert_eq!(description.difference(description), None);
    assert!(!description.type_name().contains(char::is_control));
}

#[test]
fn every_description_is_read_back_as_it_was() {
    let mut random = Random::new();
    for _ in 0..2000 {
        let description = random.description();
        let bytes = description.encode();
        assert_eq!(TypeDescription::decode(&bytes).as_ref(), Ok(&description));
        use_up(&description, &random.description());
    }
}

#[test]
fn damaged_bytes_are_an_error_or_the_encoding_of_what_they_say() {
    let mut random = Random::new();
    let asked = TypeDescription::of::<(u32, [bool; 3])>();
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut bytes = random.description().encode();
        random.damage(&mut bytes);
        if let Ok(description) = TypeDescription::decode(&bytes) {
            accepted += 1;
            assert_eq!(description.encode(), bytes);
            use_up(&description, &asked);
        }
    }
    assert!(accepted > 0, "some damage is to a number or a name");
}

#[test]
fn random_bytes_are_read_without_a_panic() {
    let mut random = Random::new();
    for _ in 0..20_000 {
        let mut bytes = vec![1];
        bytes.extend(random.list(60, |random| random.next() as u8 & 0x9f));
        if let Ok(description) = TypeDescription::decode(&bytes) {
            assert_eq!(description.encode(), bytes);
        }
    }
}

#[test]
fn a_description_cut_short_anywhere_is_an_error() {
    let bytes = TypeDescription::of::<(u32, [bool; 3], Option<std::num::NonZero<u8>>)>().encode();
    for end in 0..bytes.len() {
        assert_eq!(TypeDescription::decode(&bytes[..end]), Err(DescriptionError::Truncated { at: end }));
    }
}

#[test]
fn each_kind_of_damage_has_its_error() {
    let decode = |bytes: &[u8]| TypeDescription::decode(bytes).expect_err("damaged");
    // An array of one element, which is the array itself.
    assert!(TypeDescription::decode(&[1, 0, 1, 3, 1, 0]).is_ok());
    assert_eq!(decode(&[2, 0, 1, 3, 1, 0]), DescriptionError::UnknownVersion { version: 2 });
    assert_eq!(decode(&[1, 0, 1, 9, 1, 0]), DescriptionError::UnknownKind { kind: 9, at: 3 });
    assert_eq!(decode(&[1, 0, 1, 3, 1, 1]), DescriptionError::NodeOutOfRange { node: 1, count: 1 });
    assert_eq!(decode(&[1, 1, 1, 3, 1, 0]), DescriptionError::NodeOutOfRange { node: 1, count: 1 });
    assert_eq!(decode(&[1, 0, 0]), DescriptionError::NodeOutOfRange { node: 0, count: 0 });
    assert_eq!(decode(&[1, 0, 1, 3, 1, 0, 0]), DescriptionError::TrailingBytes { at: 6 });
    assert_eq!(decode(&[1, 0, 1, 3, 0x81, 0, 0]), DescriptionError::BadNumber { at: 4 });
    let too_large = [&[1, 0, 1, 3][..], &[0xff; 9], &[2, 0]].concat();
    assert_eq!(decode(&too_large), DescriptionError::BadNumber { at: 4 });
    // A struct with the name "\n", then one with alignment 3, then one whose size is no multiple of its alignment.
    assert_eq!(decode(&[1, 0, 1, 1, 1, 10, 0, 1, 0]), DescriptionError::BadName { at: 5 });
    assert_eq!(decode(&[1, 0, 1, 1, 1, 0xff, 0, 1, 0]), DescriptionError::BadName { at: 5 });
    assert_eq!(decode(&[1, 0, 1, 1, 1, 65, 0, 3, 0]), DescriptionError::BadLayout { at: 8 });
    assert_eq!(decode(&[1, 0, 1, 1, 1, 65, 3, 2, 0]), DescriptionError::BadLayout { at: 8 });
    assert_eq!(decode(&[1, 0, 1, 1, 1, 65, 3, 0, 0]), DescriptionError::BadLayout { at: 8 });
}

#[test]
fn huge_counts_take_no_memory() {
    let huge = [&[0xff; 9][..], &[1]].concat();
    let nodes = [&[1, 0][..], &huge].concat();
    assert_eq!(TypeDescription::decode(&nodes), Err(DescriptionError::Truncated { at: nodes.len() }));
    let name = [&[1, 0, 1, 1][..], &huge].concat();
    assert_eq!(TypeDescription::decode(&name), Err(DescriptionError::Truncated { at: name.len() }));
    let fields = [&[1, 0, 1, 1, 1, 65, 0, 1][..], &huge].concat();
    assert_eq!(TypeDescription::decode(&fields), Err(DescriptionError::Truncated { at: fields.len() }));
}

#[test]
fn very_deep_descriptions_need_no_stack() {
    let depth = 100_000;
    let chain = |last: Node| {
        let link = |index| Node::Struct {
            name: "S".into(),
            size: 0,
            align: 1,
            fields: vec![Field { name: "f".into(), offset: 0, node: NodeId(index + 1) }],
        };
        let nodes = (0..depth).map(link).chain([last]).collect();
        TypeDescription { nodes, root: NodeId(0) }
    };
    let stored = TypeDescription::decode(&chain(Node::leaf::<u8>(1, "u8")).encode()).expect("well formed");
    let asked = chain(Node::leaf::<i8>(2, "i8"));
    let difference = stored.difference(&asked).expect("the leaves differ");
    assert_eq!(difference.path().len(), 2 * depth as usize - 1);
    assert!(stored.to_string().lines().count() < 100);
    drop(stored);

    let arrays = (0..depth).map(|index| Node::Array { len: 1, element: NodeId((index + 1) % depth) }).collect();
    let arrays = TypeDescription { nodes: arrays, root: NodeId(0) };
    assert_eq!(arrays.difference(&arrays), None);
}

#[test]
fn an_encoding_that_was_stored_once_can_be_read_for_ever() {
    let bytes = TypeDescription::of::<(u8, [bool; 2])>().encode();
    let mut expected = vec![1, 0, 4];
    expected.extend(b"\x01\x0atuple of 2\x03\x01\x02\x010\x00\x01\x011\x01\x02");
    expected.extend(b"\x00\x01\0\0\0\0\0\0\0\x02u8\x01\x01");
    expected.extend(b"\x03\x02\x03");
    expected.extend(b"\x00\x41\0\0\0\0\0\0\0\x04bool\x01\x01");
    assert_eq!(bytes, expected);
}
