//! Files with a JSON value in each line, which only grow.

use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};
use thiserror::Error;

/// Why a file of lines cannot be read or written.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum LinesError {
    #[error("cannot use {path}: {source}")]
    File { path: String, source: io::Error },
    #[error("{path} is damaged in line {line}: {source}")]
    Damaged {
        path: String,
        line: usize,
        source: serde_json::Error,
    },
}

/// Reads all values; none if there is no file. A line without an end was being written when the node stopped: it is cut
/// off.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, LinesError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file_error(path, error)),
    };
    let end = text.iter().rposition(|byte| *byte == b'\n');
    let complete = end.map_or(0, |end| end + 1);
    if complete < text.len() {
        cut(path, complete as u64).map_err(|error| file_error(path, error))?;
    }
    let lines = text[..complete].split(|byte| *byte == b'\n').zip(1..);
    let lines = lines.filter(|(line, _)| !line.is_empty());
    let values = lines.map(|(text, line)| {
        serde_json::from_slice(text).map_err(|source| LinesError::Damaged {
            path: path.display().to_string(),
            line,
            source,
        })
    });
    values.collect()
}

fn cut(path: &Path, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}

/// Adds a value; it is durable when this returns.
pub(super) fn append<T: Serialize>(path: &Path, value: &T) -> Result<(), LinesError> {
    let mut line = serde_json::to_vec(value).expect("the value is JSON");
    line.push(b'\n');
    let append = || {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(&line)?;
        file.sync_all()?;
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        File::open(folder)?.sync_all()
    };
    append().map_err(|error| file_error(path, error))
}

fn file_error(path: &Path, source: io::Error) -> LinesError {
    LinesError::File {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_an_end_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        assert!(read::<u64>(&path).unwrap().is_empty());
        for value in [1_u64, 22] {
            append(&path, &value).unwrap();
        }
        assert_eq!(read::<u64>(&path).unwrap(), [1, 22]);
        fs::write(&path, "1\n22\n33").unwrap();
        assert_eq!(read::<u64>(&path).unwrap(), [1, 22]);
        append(&path, &4_u64).unwrap();
        assert_eq!(read::<u64>(&path).unwrap(), [1, 22, 4]);
        fs::write(&path, "no").unwrap();
        assert!(read::<u64>(&path).unwrap().is_empty());
    }

    #[test]
    fn a_damaged_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        fs::write(&path, "1\nno number\n3\n").unwrap();
        let error = read::<u64>(&path).unwrap_err();
        assert!(
            matches!(error, LinesError::Damaged { line: 2, .. }),
            "{error}"
        );
        let error = read::<u64>(folder.path()).unwrap_err();
        assert!(matches!(error, LinesError::File { .. }), "{error}");
    }
}
