//! Answering.

use super::store::{FILES, FileRecord, FileState, Posting, WORDS, shard_of};
use super::words::for_each_word;
use sal::collections::SalVec;
use sal::{Read, RootError};
use std::cmp::Reverse;
use std::path::PathBuf;

/// The files in which all words occur.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// How many there are.
    pub(crate) files: usize,
    /// Those in which the words occur most often, all counts added up; then by path.
    pub(crate) best: Vec<(u64, PathBuf)>,
}

/// The words that a query's arguments consist of, each once: they are read as the words of a file are.
pub(crate) fn words_of_query(arguments: &[String]) -> Vec<String> {
    let mut words = Vec::new();
    for argument in arguments {
        for_each_word(argument, &mut String::new(), |word| words.push(word.to_owned()));
    }
    words.sort_unstable();
    words.dedup();
    words
}

/// Finds the files in which all `words` occur, and names the best `most` of them.
///
/// # Errors
/// As for [`Read::root`]. An index that nothing was ever added to has no roots.
pub(crate) fn query(session: &Read<'_>, words: &[String], most: usize) -> Result<Answer, RootError> {
    let (files, shards) = (session.root(FILES)?, session.root(WORDS)?);
    let lists: Option<Vec<&SalVec<Posting>>> =
        words.iter().map(|word| shards[shard_of(word)].words.get(word.as_str())).collect();
    let mut lists = lists.unwrap_or_default();
    lists.sort_unstable_by_key(|list| list.len());
    let Some((shortest, others)) = lists.split_first() else { return Ok(Answer { files: 0, best: Vec::new() }) };

    let is_text = |record: &&FileRecord| record.state == FileState::Text;
    let mut hits = Vec::new();
    'files: for posting in shortest.iter() {
        let Some(record) = files.get(posting.file as usize).filter(is_text) else { continue };
        let mut sum = u64::from(posting.count);
        for other in others {
            // By I1.
            let Ok(at) = other.binary_search_by_key(&posting.file, |posting| posting.file) else { continue 'files };
            sum += u64::from(other[at].count);
        }
        hits.push((Reverse(sum), record.path()));
    }
    let found = hits.len();
    if most < found {
        if most > 0 {
            hits.select_nth_unstable(most - 1);
        }
        hits.truncate(most);
    }
    hits.sort_unstable();
    let best = hits.into_iter().map(|(Reverse(sum), path)| (sum, path.to_path_buf())).collect();
    Ok(Answer { files: found, best })
}
