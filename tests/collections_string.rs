//! [`SalString`] does what [`String`] does, and is text whatever happens.

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use sal::collections::{SalString, SalVec, TryReserveError};
use std::borrow::{Borrow, Cow};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::mem;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// One step of the model test. Indices are taken modulo the length and moved down to a boundary.
#[derive(Clone, Debug)]
enum Step {
    Push(char),
    PushStr(String),
    Pop,
    Insert(usize, char),
    InsertStr(usize, String),
    Remove(usize),
    Truncate(usize),
    Clear,
    Retain(u32),
    Drain(usize, usize, usize, usize),
    ForgetDrain(usize, usize),
    ReplaceRange(usize, usize, String),
    SplitOff(usize),
    ExtendChars(Vec<char>),
    ExtendText(Vec<String>),
    Format(i64),
    Reserve(usize),
    ShrinkTo(usize),
    CloneFrom(String),
    Upper,
}

/// Characters of one to four bytes.
fn character() -> impl Strategy<Value = char> {
    prop::sample::select(vec!['a', 'b', 'Z', 'é', 'ß', '€', '語', '🦀'])
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(character(), 0..12).prop_map(String::from_iter)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = || any::<usize>();
    let step = prop_oneof![
        3 => character().prop_map(Step::Push),
        4 => text().prop_map(Step::PushStr),
        2 => Just(Step::Pop),
        2 => (at(), character()).prop_map(|(at, c)| Step::Insert(at, c)),
        2 => (at(), text()).prop_map(|(at, text)| Step::InsertStr(at, text)),
        2 => at().prop_map(Step::Remove),
        1 => at().prop_map(Step::Truncate),
        1 => Just(Step::Clear),
        1 => (2..4_u32).prop_map(Step::Retain),
        2 => (at(), at(), 0..4usize, 0..4usize).prop_map(|(a, b, c, d)| Step::Drain(a, b, c, d)),
        1 => (at(), at()).prop_map(|(a, b)| Step::ForgetDrain(a, b)),
        3 => (at(), at(), text()).prop_map(|(a, b, text)| Step::ReplaceRange(a, b, text)),
        1 => at().prop_map(Step::SplitOff),
        1 => prop::collection::vec(character(), 0..5).prop_map(Step::ExtendChars),
        1 => prop::collection::vec(text(), 0..4).prop_map(Step::ExtendText),
        1 => any::<i64>().prop_map(Step::Format),
        1 => (0..200usize).prop_map(Step::Reserve),
        1 => (0..50usize).prop_map(Step::ShrinkTo),
        1 => text().prop_map(Step::CloneFrom),
        1 => Just(Step::Upper),
    ];
    prop::collection::vec(step, 0..60)
}

fn boundary(at: usize, text: &str) -> usize {
    let at = at % (text.len() + 1);
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap()
}

fn range(a: usize, b: usize, text: &str) -> Range<usize> {
    let (a, b) = (boundary(a, text), boundary(b, text));
    a.min(b)..a.max(b)
}

fn apply(step: Step, ours: &mut SalString, model: &mut String) {
    match step {
        Step::Push(c) => {
            ours.push(c);
            model.push(c);
        }
        Step::PushStr(text) => {
            ours.push_str(&text);
            model.push_str(&text);
        }
        Step::Pop => assert_eq!(ours.pop(), model.pop()),
        Step::Insert(at, c) => {
            let at = boundary(at, model);
            ours.insert(at, c);
            model.insert(at, c);
        }
        Step::InsertStr(at, text) => {
            let at = boundary(at, model);
            ours.insert_str(at, &text);
            model.insert_str(at, &text);
        }
        Step::Remove(at) => {
            let at = boundary(at, model);
            if at < model.len() {
                assert_eq!(ours.remove(at), model.remove(at));
            }
        }
        Step::Truncate(at) => {
            let at = boundary(at, model);
            ours.truncate(at);
            model.truncate(at);
        }
        Step::Clear => {
            ours.clear();
            model.clear();
        }
        Step::Retain(divisor) => {
            ours.retain(|c| u32::from(c) % divisor != 0);
            model.retain(|c| u32::from(c) % divisor != 0);
        }
        Step::Drain(a, b, front, back) => {
            let range = range(a, b, model);
            let mut drained = ours.drain(range.clone());
            let mut expected = model.drain(range);
            for _ in 0..front {
                assert_eq!(drained.next(), expected.next());
            }
            for _ in 0..back {
                assert_eq!(drained.next_back(), expected.next_back());
            }
            assert_eq!(drained.as_str(), expected.as_str());
            assert_eq!(drained.size_hint(), expected.size_hint());
        }
        Step::ForgetDrain(a, b) => {
            let mut drained = ours.drain(range(a, b, model));
            drained.next();
            mem::forget(drained);
        }
        Step::ReplaceRange(a, b, text) => {
            let range = range(a, b, model);
            ours.replace_range(range.clone(), &text);
            model.replace_range(range, &text);
        }
        Step::SplitOff(at) => {
            let at = boundary(at, model);
            assert_eq!(ours.split_off(at), model.split_off(at));
        }
        Step::ExtendChars(chars) => {
            ours.extend(&chars);
            model.extend(chars);
        }
        Step::ExtendText(texts) => {
            ours.try_extend(&texts).unwrap();
            ours.extend(texts.iter().map(String::as_str));
            for _ in 0..2 {
                model.extend(texts.iter().map(String::as_str));
            }
        }
        Step::Format(number) => {
            write!(ours, "{number:+}").unwrap();
            write!(model, "{number:+}").unwrap();
        }
        Step::Reserve(additional) => {
            ours.reserve(additional);
            assert!(ours.capacity() >= model.len() + additional);
        }
        Step::ShrinkTo(min) => ours.shrink_to(min),
        Step::CloneFrom(text) => {
            ours.clone_from(&SalString::from(&text));
            *model = text;
        }
        Step::Upper => {
            ours.make_ascii_uppercase();
            model.make_ascii_uppercase();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_steps_do_what_they_do_to_a_std_string(steps in steps()) {
        let mut ours = SalString::new();
        let mut model = String::new();
        for step in steps {
            apply(step, &mut ours, &mut model);
            assert!(std::str::from_utf8(ours.as_bytes()).is_ok());
            assert_eq!(ours, model);
            assert!(ours.capacity() >= ours.len());
        }
    }

    #[test]
    fn any_bytes_are_text_if_std_says_so(bytes in prop::collection::vec(any::<u8>(), 0..8)) {
        let ours = SalString::from_utf8(SalVec::from(&bytes[..]));
        match String::from_utf8(bytes.clone()) {
            Ok(model) => assert_eq!(ours.unwrap(), model),
            Err(model) => {
                let error = ours.unwrap_err();
                assert_eq!(error.utf8_error(), model.utf8_error());
                assert_eq!(error.to_string(), model.to_string());
                assert_eq!(error.as_bytes(), bytes);
                assert_eq!(error.into_bytes(), bytes);
            }
        }
    }
}

#[test]
fn a_place_inside_a_character_panics_and_changes_nothing() {
    let mut text = SalString::from("aé");
    let mut refused = |act: &dyn Fn(&mut SalString)| {
        assert!(catch_unwind(AssertUnwindSafe(|| act(&mut text))).is_err());
        assert_eq!(text, "aé");
    };
    refused(&|text| text.insert(2, 'x'));
    refused(&|text| text.insert_str(4, "x"));
    refused(&|text| assert_eq!(text.remove(2), 'x'));
    refused(&|text| assert_eq!(text.remove(3), 'x'));
    refused(&|text| text.truncate(2));
    refused(&|text| drop(text.split_off(2)));
    refused(&|text| drop(text.drain(..2)));
    refused(&|text| text.replace_range(2.., "x"));
    refused(&|text| text.replace_range(..5, "x"));
    text.truncate(9);
    assert_eq!(text, "aé");
}

#[test]
fn retain_that_panics_leaves_text() {
    for fuse in 0..6 {
        let mut text = SalString::from("é€a🦀b");
        let mut judged = 0;
        let result = catch_unwind(AssertUnwindSafe(|| {
            text.retain(|c| {
                judged += 1;
                assert!(judged <= fuse, "the closure panics");
                c != 'é'
            });
        }));
        assert_eq!(result.is_err(), fuse < 5);
        assert_eq!(text, if fuse == 0 { "é€a🦀b" } else { "€a🦀b" });
        assert!(std::str::from_utf8(text.as_bytes()).is_ok());
    }
}

#[test]
fn a_map_of_strings_can_be_asked_with_a_str() {
    fn hash(value: &(impl Hash + ?Sized)) -> u64 {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    }
    let text = SalString::from("key");
    assert_eq!(hash(&text), hash("key"));
    let borrowed: &str = text.borrow();
    assert_eq!(borrowed, "key");
    assert_eq!(HashMap::from([(text.clone(), 1)]).get("key"), Some(&1));
    assert_eq!(BTreeMap::from([(text, 1)]).get("key"), Some(&1));
}

#[test]
fn strings_compare_with_every_kind_of_text() {
    let text = SalString::from("text");
    let (owned, cow) = (String::from("text"), Cow::from("text"));
    assert!(text == *"text" && text == "text" && text == owned && text == cow && text == text.clone());
    assert!(*"text" == text && "text" == text && owned == text && cow == text);
    let (below, above) = (SalString::from("Text"), SalString::from("texts"));
    assert!(below < text && text < above);
    assert_eq!(format!("{text} {text:?} {text:>6}|"), "text \"text\"   text|");
}

#[test]
fn every_kind_of_text_turns_into_a_string() {
    let owned = String::from("text");
    let texts = [
        SalString::from("text"),
        SalString::from(&owned),
        SalString::from(owned.clone().into_boxed_str()),
        SalString::from(Cow::from("text")),
        SalString::from(owned.clone().as_mut_str()),
        SalString::from(owned),
        "text".parse().unwrap(),
        SalString::try_from(SalVec::from("text")).unwrap(),
        SalString::from('t') + "ext",
        ["te", "xt"].into_iter().collect(),
        [String::from("te"), String::from("xt")].into_iter().collect(),
        [Cow::from("te"), Cow::from("xt")].into_iter().collect(),
        [SalString::from("te"), SalString::from("xt")].into_iter().collect(),
        ['t', 'e', 'x', 't'].iter().collect(),
        "text".chars().collect(),
        SalString::try_from_iter(["te", "xt"]).unwrap(),
        SalString::try_from_str("text").unwrap(),
    ];
    for text in texts {
        assert_eq!(text, "text");
        assert_eq!(String::from(&text), "text");
        assert_eq!(text.into_bytes(), b"text");
    }
}

#[test]
fn a_string_is_taken_where_text_a_path_or_bytes_are() {
    fn seen<V: AsRef<str> + AsRef<[u8]> + AsRef<OsStr> + AsRef<Path>>(value: &V) -> usize {
        let (text, bytes): (&str, &[u8]) = (value.as_ref(), value.as_ref());
        let (os, path): (&OsStr, &Path) = (value.as_ref(), value.as_ref());
        text.len() + bytes.len() + os.len() + path.components().count()
    }
    assert_eq!(seen(&SalString::from("a/b")), 3 + 3 + 3 + 2);
}

#[test]
fn a_failed_call_leaves_the_string_as_it_was() {
    let mut text = SalString::from("kept");
    assert_eq!(text.try_reserve(usize::MAX), Err(TryReserveError::CapacityOverflow));
    assert!(text.try_reserve_exact(isize::MAX as usize - 4096).is_err());
    assert!(SalString::try_with_capacity(usize::MAX).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| text.reserve(usize::MAX))).is_err());
    assert_eq!(text, "kept");
}

#[test]
fn an_empty_string_owns_nothing() {
    static EMPTY: SalString = SalString::new();
    assert_eq!((EMPTY.capacity(), EMPTY.as_str()), (0, ""));
    let mut text = SalString::from("gone");
    text.clear();
    text.shrink_to_fit();
    assert_eq!(text.capacity(), 0);
    assert_eq!(SalString::default(), SalString::from(""));
    assert_eq!(SalString::from("").capacity(), 0);
}

#[test]
fn strings_cross_threads() {
    fn both<T: Send + Sync + 'static>() {}
    both::<SalString>();
}

#[cfg(feature = "serde")]
#[test]
fn a_string_is_written_as_text_and_read_back() {
    let text = SalString::from("a \"quoted\" é");
    let json = serde_json::to_string(&text).unwrap();
    assert_eq!(json, serde_json::to_string(text.as_str()).unwrap());
    assert_eq!(serde_json::from_str::<SalString>(&json).unwrap(), text);
    assert!(serde_json::from_str::<SalString>("7").is_err());
}
