//! A file system made of memory, of which the power can be cut at any moment.
//!
//! It promises what POSIX does and no more. What was not synced may be on disk or not, in any order and each on its
//! own: of a file's content any part from its beginning, or zeros of its length; of a name in a directory
//! what it was when the directory was synced last, each thing it has been since, and nothing at all. File systems
//! with a journal lose less.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;

/// The number of a file or a directory. That of the root is 0.
type Number = usize;

/// The file system.
#[derive(Debug, Clone)]
pub(super) struct FakeDisk(RefCell<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    nodes: Vec<Node>,
    /// What was there before each change and each sync.
    before: Vec<Vec<Node>>,
    syncs: usize,
    /// The number of a sync that is not made, though it says so.
    left_out: Option<usize>,
}

#[derive(Debug, Clone)]
enum Node {
    File { content: Vec<u8>, synced: bool },
    Directory(BTreeMap<OsString, Name>),
}

/// A name in a directory.
#[derive(Debug, Clone, Default)]
struct Name {
    /// What it is the name of.
    now: Option<Number>,
    /// What it may be on disk.
    on_disk: Vec<Option<Number>>,
}

impl Name {
    fn set(&mut self, to: Option<Number>) {
        if self.on_disk.is_empty() {
            self.on_disk.push(None);
        }
        self.now = to;
        for value in [None, to] {
            if !self.on_disk.contains(&value) {
                self.on_disk.push(value);
            }
        }
    }

    fn set_synced(&mut self, value: Option<Number>) {
        self.now = value;
        self.on_disk = vec![value];
    }
}

impl FakeDisk {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self::of(vec![Node::Directory(BTreeMap::new())])
    }

    fn of(nodes: Vec<Node>) -> Self {
        Self(RefCell::new(Inner {
            nodes,
            before: Vec::new(),
            syncs: 0,
            left_out: None,
        }))
    }

    /// One on which a sync is not made though it says so: that of a number, counted from here.
    pub(super) fn without_sync(&self, number: usize) -> Self {
        let disk = Self::of(self.0.borrow().nodes.clone());
        disk.0.borrow_mut().left_out = Some(number);
        disk
    }

    /// How many syncs there have been.
    pub(super) fn syncs(&self) -> usize {
        self.0.borrow().syncs
    }

    /// What a cut may leave at any moment but this one.
    pub(super) fn after_earlier_cuts(&self) -> Vec<Self> {
        let inner = self.0.borrow();
        inner.before.iter().flat_map(|nodes| cuts(nodes)).collect()
    }

    /// What a cut may leave now.
    pub(super) fn after_a_cut(&self) -> Vec<Self> {
        cuts(&self.0.borrow().nodes)
    }

    /// All files by path; directories have no content.
    pub(super) fn listing(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let inner = self.0.borrow();
        let mut found = BTreeMap::new();
        inner.list(0, Path::new("/"), &mut found);
        found
    }

    /// Puts a file there as a sound disk would have it, in the place of what is there.
    pub(super) fn put(&self, path: &Path, content: &[u8]) {
        let mut inner = self.0.borrow_mut();
        let number = inner.add(Node::File {
            content: content.to_vec(),
            synced: true,
        });
        if let Ok(name) = inner.name(path) {
            name.set_synced(Some(number));
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.0.borrow_mut();
        let before = inner.nodes.clone();
        inner.before.push(before);
        change(&mut inner)
    }
}

impl Inner {
    fn add(&mut self, node: Node) -> Number {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Counts a sync. Whether it is made.
    fn is_synced(&mut self) -> bool {
        let number = self.syncs;
        self.syncs += 1;
        self.left_out != Some(number)
    }

    fn directory(&mut self, path: &Path) -> io::Result<&mut BTreeMap<OsString, Name>> {
        let number = self.find(path)?;
        match &mut self.nodes[number] {
            Node::Directory(names) => Ok(names),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn name(&mut self, path: &Path) -> io::Result<&mut Name> {
        let names = self.directory(parent(path))?;
        Ok(names.entry(last(path).to_owned()).or_default())
    }

    fn find(&self, path: &Path) -> io::Result<Number> {
        if path == Path::new("/") {
            return Ok(0);
        }
        let above = self.find(parent(path))?;
        let Node::Directory(names) = &self.nodes[above] else {
            return Err(io::ErrorKind::NotADirectory.into());
        };
        let name = names.get(last(path)).and_then(|name| name.now);
        name.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&self, path: &Path) -> io::Result<&Vec<u8>> {
        match &self.nodes[self.find(path)?] {
            Node::File { content, .. } => Ok(content),
            Node::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn create(&mut self, path: &Path, node: Node) -> io::Result<Number> {
        if self.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.directory(parent(path))?;
        let number = self.add(node);
        self.name(path)?.set(Some(number));
        Ok(number)
    }

    fn list(&self, number: Number, path: &Path, found: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
        match &self.nodes[number] {
            Node::File { content, .. } => {
                found.insert(path.to_owned(), Some(content.clone()));
            }
            Node::Directory(names) => {
                found.insert(path.to_owned(), None);
                for (name, of) in names {
                    if let Some(number) = of.now {
                        self.list(number, &path.join(name), found);
                    }
                }
            }
        }
    }
}

/// All that the disk may hold after a cut.
fn cuts(nodes: &[Node]) -> Vec<FakeDisk> {
    let mut found = vec![Vec::new()];
    for node in nodes {
        let may_be = node_on_disk(node);
        found = each_with_each(&found, &may_be);
    }
    found.into_iter().map(FakeDisk::of).collect()
}

/// All that may be on disk of a file or a directory.
fn node_on_disk(node: &Node) -> Vec<Node> {
    let file = |content: Vec<u8>| Node::File {
        content,
        synced: true,
    };
    match node {
        Node::File {
            content,
            synced: true,
        } => vec![file(content.clone())],
        Node::File { content, .. } => {
            let parts = (0..=content.len()).map(|length| content[..length].to_vec());
            let zeros = (!content.is_empty()).then(|| vec![0; content.len()]);
            parts.chain(zeros).map(file).collect()
        }
        Node::Directory(names) => {
            let mut found = vec![Vec::new()];
            for (name, of) in names {
                let may_be = of.on_disk.iter().map(|value| {
                    let mut synced = Name::default();
                    synced.set_synced(*value);
                    (name.clone(), synced)
                });
                found = each_with_each(&found, &may_be.collect::<Vec<_>>());
            }
            let directory = |names: Vec<_>| Node::Directory(names.into_iter().collect());
            found.into_iter().map(directory).collect()
        }
    }
}

/// Each beginning with each of what may come next.
fn each_with_each<T: Clone>(beginnings: &[Vec<T>], next: &[T]) -> Vec<Vec<T>> {
    let with = |beginning: &Vec<T>, more: &T| [&beginning[..], std::slice::from_ref(more)].concat();
    let all = beginnings
        .iter()
        .flat_map(|beginning| next.iter().map(move |more| with(beginning, more)));
    all.collect()
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn last(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

impl Disk for FakeDisk {
    type File = Number;

    fn create_new(&self, path: &Path) -> io::Result<Number> {
        self.change(|inner| {
            let file = Node::File {
                content: Vec::new(),
                synced: false,
            };
            inner.create(path, file)
        })
    }

    fn write(&self, file: &mut Number, bytes: &[u8]) -> io::Result<()> {
        self.change(|inner| {
            if let Node::File { content, synced } = &mut inner.nodes[*file] {
                content.extend_from_slice(bytes);
                *synced = false;
            }
            Ok(())
        })
    }

    fn sync(&self, file: &Number) -> io::Result<()> {
        self.change(|inner| {
            let is_made = inner.is_synced();
            if let Node::File { synced, .. } = &mut inner.nodes[*file] {
                *synced |= is_made;
            }
            Ok(())
        })
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.change(|inner| {
            let is_made = inner.is_synced();
            for name in inner.directory(path)?.values_mut().filter(|_| is_made) {
                name.set_synced(name.now);
            }
            Ok(())
        })
    }

    fn link(&self, path: &Path, to: &Path) -> io::Result<()> {
        self.change(|inner| {
            let number = inner.find(path)?;
            if inner.find(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            inner.name(to)?.set(Some(number));
            Ok(())
        })
    }

    fn rename(&self, path: &Path, to: &Path) -> io::Result<()> {
        self.change(|inner| {
            let number = inner.find(path)?;
            inner.name(to)?.set(Some(number));
            inner.name(path)?.set(None);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|inner| {
            inner.find(path)?;
            inner.name(path)?.set(None);
            Ok(())
        })
    }

    fn create_directory(&self, path: &Path, _: u32) -> io::Result<()> {
        self.change(|inner| {
            inner.create(path, Node::Directory(BTreeMap::new()))?;
            Ok(())
        })
    }

    fn is_directory(&self, path: &Path) -> bool {
        self.0.borrow_mut().directory(path).is_ok()
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(self.0.borrow().file(path)?.len() as u64)
    }

    fn text(&self, path: &Path) -> io::Result<String> {
        let text = String::from_utf8(self.0.borrow().file(path)?.clone());
        text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}
