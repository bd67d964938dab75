#![expect(clippy::unwrap_used, reason = "a test's own files are there")]

use std::fs::{self, File};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

/// A directory of a test's own.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lte-file-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("kept")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Content is a number with a mark at its end, so that a part of it is none.
fn parse(text: &str) -> Option<u32> {
    text.strip_suffix('.')?.parse().ok()
}

/// What may have become of a file.
#[derive(Clone, Copy, Debug)]
enum Left {
    Part,
    Empty,
    Gone,
}

impl Left {
    fn make(self, path: &Path) {
        let Ok(text) = fs::read_to_string(path) else {
            return;
        };
        match self {
            // In place, as it happens to the file and not to its name.
            Self::Part => fs::write(path, &text[..text.len().saturating_sub(1)]).unwrap(),
            Self::Empty => fs::write(path, "").unwrap(),
            Self::Gone => fs::remove_file(path).unwrap(),
        }
    }
}

#[test]
fn a_file_system_that_lost_the_newest_has_the_one_before() {
    for left in [Left::Part, Left::Empty, Left::Gone] {
        let place = Place::new("lost");
        let path = place.file();
        replace(&path, "1.").unwrap();
        replace(&path, "2.").unwrap();
        left.make(&path);
        assert_eq!(read(&path, parse), Some(1), "{left:?}");
        quarantine(&path, parse);
        assert_eq!(read(&path, parse), Some(1), "{left:?}");
        let aside = beside(&path, ".bad").exists();
        assert_eq!(aside, !matches!(left, Left::Gone), "{left:?}");
        // The one before is not lost by the next.
        replace(&path, "3.").unwrap();
        Left::Empty.make(&path);
        assert_eq!(read(&path, parse), Some(1), "{left:?}");
    }
}

#[test]
fn a_link_that_somebody_has_planted_is_not_followed() {
    let place = Place::new("link");
    let (path, elsewhere) = (place.file(), place.0.join("elsewhere"));
    fs::write(&elsewhere, "theirs").unwrap();
    std::os::unix::fs::symlink(&elsewhere, new_path(&path)).unwrap();
    replace(&path, "1.").unwrap();
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "theirs");
    assert_eq!(read(&path, parse), Some(1));
}

#[test]
fn what_is_forgotten_does_not_come_back() {
    let place = Place::new("forget");
    let path = place.file();
    replace(&path, "1.").unwrap();
    replace(&path, "2.").unwrap();
    remove_all(&path).unwrap();
    assert_eq!(read(&path, parse), None);
    assert_eq!(fs::read_dir(&place.0).unwrap().count(), 0);
    remove_all(&path).unwrap();
}

#[test]
fn what_stands_in_a_files_place_holds_nobody_up() {
    let place = Place::new("place");
    let path = place.file();
    let said = || RealDisk.text(&path).unwrap_err().to_string();

    let (pipe, mode) = (FileType::Fifo, Mode::RUSR | Mode::WUSR);
    mknodat(CWD, &path, pipe, mode, 0).unwrap();
    assert_eq!(said(), "it is not a regular file");
    fs::remove_file(&path).unwrap();

    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert_eq!(
        RealDisk.text(&path).unwrap_err().raw_os_error(),
        Some(libc::ELOOP)
    );
    fs::remove_file(&path).unwrap();

    File::create(&path).unwrap().set_len(8 << 30).unwrap();
    assert!(said().starts_with("it has 8589934592 bytes"), "{}", said());
}
