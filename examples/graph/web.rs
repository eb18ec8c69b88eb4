//! The graph: files, words, and the places where words stand.

use sal::prelude::*;
use sal::{Gc, Handle, Pool, SalMovable};
use std::collections::HashMap;

/// All there is. What is not reached from the shelf is garbage.
#[derive(Persist, Default)]
#[repr(C)]
pub(crate) struct Web {
    pub(crate) shelf: SalVec<Gc<File>>,
    pub(crate) files: Pool<File>,
    pub(crate) words: Pool<Word>,
    pub(crate) places: Pool<Place>,
}

#[derive(Persist)]
#[repr(C)]
pub(crate) struct File {
    pub(crate) path: SalString,
    pub(crate) first: Option<Gc<Place>>,
}

#[derive(Persist)]
#[repr(C)]
pub(crate) struct Word {
    pub(crate) text: Handle<str>,
    /// One that followed it somewhere.
    pub(crate) followed_by: Option<Gc<Word>>,
}

#[derive(Persist)]
#[repr(C)]
pub(crate) struct Place {
    pub(crate) word: Gc<Word>,
    pub(crate) file: Gc<File>,
    /// The next one in the file; the last one leads to the first.
    pub(crate) next: Option<Gc<Place>>,
    pub(crate) line: u64,
}

/// What is known while files are added: the words, by their texts.
#[derive(Default)]
pub(crate) struct Known(HashMap<String, Gc<Word>>);

impl Known {
    /// Of what there is already.
    pub(crate) fn of(web: &Web, heap: &Heap) -> Self {
        let pin = heap.pin();
        Self(web.words.objects().map(|(word, found)| (found.text.get(&pin).to_owned(), word)).collect())
    }
}

impl Web {
    pub(crate) fn nodes(&self) -> u64 {
        (self.files.len() + self.words.len() + self.places.len()) as u64
    }

    /// Adds a file's words.
    pub(crate) fn add(&mut self, heap: &Heap, known: &mut Known, path: &str, text: &str) {
        let file = self.files.insert(File { path: path.into(), first: None });
        let mut before: Option<Gc<Place>> = None;
        for (line, text) in text.lines().enumerate() {
            for text in text.split(|c: char| !c.is_alphanumeric()).filter(|text| !text.is_empty()) {
                let word = match known.0.get(text) {
                    Some(&word) => word,
                    None => {
                        let word = self.words.insert(Word { text: heap.handle_str(text), followed_by: None });
                        known.0.insert(text.to_owned(), word);
                        word
                    }
                };
                let place = self.places.insert(Place { word, file, next: None, line: line as u64 });
                match before.replace(place) {
                    Some(before) => {
                        let before_word = self.places[before].word;
                        self.places[before].next = Some(place);
                        self.words[before_word].followed_by = Some(word);
                    }
                    None => self.files[file].first = Some(place),
                }
            }
        }
        if let Some(last) = before {
            self.places[last].next = self.files[file].first;
        }
        self.shelf.push(file);
    }

    /// Looks whether all pointers of what the shelf leads to lead somewhere; how many places there are.
    pub(crate) fn check(&self) -> Result<u64, String> {
        let mut seen = 0;
        for &file in &self.shelf {
            let found = self.files.get(file).ok_or("a file is gone")?;
            let mut at = found.first;
            while let Some(place) = at {
                let found =
                    self.places.get(place).ok_or_else(|| format!("a place of {} is gone", self.files[file].path))?;
                let word = self.words.get(found.word).ok_or("a word is gone")?;
                if found.file != file || word.followed_by.is_some_and(|word| self.words.get(word).is_none()) {
                    return Err(format!("a place of {} leads elsewhere", self.files[file].path));
                }
                seen += 1;
                at = found.next.filter(|next| Some(*next) != self.files[file].first);
            }
        }
        Ok(seen)
    }
}
