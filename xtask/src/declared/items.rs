//! The tests and modules that a file declares, and what it states of where its tests run.

use anyhow::{Context as _, Result, bail};

use super::runs_on::Statement;
use super::tokens::Tree;

/// The modules into which `for_each_backend!` puts a test each.
const BACKENDS: [&str; 2] = ["ebpf", "nft"];

/// What a macro of the tree makes tests of: any other that is defined to make some is an error.
const MACROS: [(&str, Names); 2] = [
    ("for_each_backend", Names::EachBackend),
    ("parts", Names::BeforeEqual),
];

/// The macro that states on which kernels tests run.
const RUNS_ON: &str = "runs_on";

/// Which words of a macro's call are names of tests.
#[derive(Debug, Clone, Copy)]
enum Names {
    /// All, once in the module of each backend.
    EachBackend,
    /// Those before an equals sign.
    BeforeEqual,
}

/// What a file declares.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Items {
    /// Paths of tests within the file.
    pub(super) tests: Vec<String>,
    /// Modules in other files.
    pub(super) modules: Vec<Module>,
    /// Calls of `runs_on!`.
    pub(super) statements: Vec<Statement>,
}

/// A module in another file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Module {
    /// The modules of the file that it stands in.
    pub(super) within: Vec<String>,
    pub(super) name: String,
    /// Its `#[path]`.
    pub(super) path: Option<String>,
}

/// Attributes of the item that comes next.
#[derive(Debug, Default)]
struct Attributes {
    test: bool,
    path: Option<String>,
}

impl Items {
    /// Adds what these trees declare, in the module at a path within the file.
    pub(super) fn read(&mut self, within: &[String], trees: &[Tree<'_>]) -> Result<()> {
        let mut attributes = Attributes::default();
        let mut rest = trees;
        loop {
            rest = match rest {
                [] => return Ok(()),
                [Tree::Sign('#'), Tree::Group('[', inside), rest @ ..] => {
                    attributes.read(inside);
                    rest
                }
                [
                    Tree::Word("mod"),
                    Tree::Word(name),
                    Tree::Sign(';'),
                    rest @ ..,
                ] => {
                    self.modules.push(Module {
                        within: within.to_vec(),
                        name: (*name).to_owned(),
                        path: std::mem::take(&mut attributes).path,
                    });
                    rest
                }
                [
                    Tree::Word("mod"),
                    Tree::Word(name),
                    Tree::Group('{', inside),
                    rest @ ..,
                ] => {
                    let path = [within, &[(*name).to_owned()]].concat();
                    self.read(&path, inside)?;
                    attributes = Attributes::default();
                    rest
                }
                [Tree::Word("fn"), Tree::Word(name), rest @ ..] => {
                    if std::mem::take(&mut attributes).test {
                        self.test(within, &[name]);
                    }
                    rest
                }
                [
                    Tree::Word("macro_rules"),
                    Tree::Sign('!'),
                    Tree::Word(name),
                    Tree::Group(_, inside),
                    rest @ ..,
                ] => {
                    if makes_tests(inside) && names_of(name).is_none() {
                        bail!(
                            "{name}! makes tests, and xtask/src/declared/items.rs does not know which"
                        );
                    }
                    rest
                }
                [
                    Tree::Word(name),
                    Tree::Sign('!'),
                    Tree::Group(_, inside),
                    rest @ ..,
                ] => {
                    self.call(within, name, inside)
                        .with_context(|| format!("{name}!"))?;
                    rest
                }
                [Tree::Group('{', _) | Tree::Sign(';'), rest @ ..] => {
                    attributes = Attributes::default();
                    rest
                }
                [_, rest @ ..] => rest,
            }
        }
    }

    /// What the call of a macro declares: of one that is not known, the items in its brackets.
    fn call(&mut self, within: &[String], name: &str, inside: &[Tree<'_>]) -> Result<()> {
        if name == RUNS_ON {
            self.statements.push(Statement::read(within, inside)?);
            return Ok(());
        }
        match names_of(name) {
            None => return self.read(within, inside),
            Some(Names::EachBackend) => {
                for tree in inside {
                    match tree {
                        Tree::Word(name) => {
                            for backend in BACKENDS {
                                self.test(within, &[backend, name]);
                            }
                        }
                        Tree::Sign(',') => {}
                        _ => bail!("takes names, not {tree:?}"),
                    }
                }
            }
            Some(Names::BeforeEqual) => {
                for pair in inside.windows(2) {
                    if let [Tree::Word(name), Tree::Sign('=')] = pair {
                        self.test(within, &[name]);
                    }
                }
            }
        }
        Ok(())
    }

    fn test(&mut self, within: &[String], name: &[&str]) {
        let parts = within
            .iter()
            .map(String::as_str)
            .chain(name.iter().copied());
        self.tests.push(parts.collect::<Vec<_>>().join("::"));
    }
}

impl Attributes {
    /// What stands between an attribute's brackets: a path, and what is said of it.
    fn read(&mut self, inside: &[Tree<'_>]) {
        if let [Tree::Word("path"), Tree::Sign('='), Tree::Text(path)] = inside {
            self.path = Some((*path).to_owned());
        }
        let name = inside
            .iter()
            .take_while(|tree| matches!(tree, Tree::Word(_) | Tree::Sign(':')))
            .last();
        // `#[test]`, `#[tokio::test(…)]`.
        self.test |= matches!(name, Some(Tree::Word("test")));
    }
}

fn names_of(name: &str) -> Option<Names> {
    MACROS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, names)| *names)
}

/// Whether `#[test]` stands anywhere in a macro.
fn makes_tests(trees: &[Tree<'_>]) -> bool {
    trees.iter().any(|tree| match tree {
        Tree::Group('[', inside) => matches!(inside[..], [Tree::Word("test")]),
        Tree::Group(_, inside) => makes_tests(inside),
        Tree::Word(_) | Tree::Text(_) | Tree::Sign(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tokens::trees;
    use super::*;

    fn items(text: &str) -> Result<Items> {
        let mut items = Items::default();
        items.read(&[], &trees(text)?)?;
        Ok(items)
    }

    fn names(text: &str) -> Vec<String> {
        items(text).expect("it can be read").tests
    }

    #[test]
    fn tests_are_told_by_their_attribute() {
        let text = r##"
            //! #[test] fn no() {}
            #![expect(dead_code, reason = "#[test]")]
            #[derive(Debug)]
            struct Test { test: u8 }
            fn no() { let x = "fn no() {}"; }
            #[test]
            #[should_panic]
            fn a() { inner(); }
            fn no_more() {}
            mod deeper {
                #[tokio::test(start_paused = true)]
                async fn b() -> Result<(), [u8; 2]> {}
                #[cfg(test)]
                fn no() {}
            }
        "##;
        assert_eq!(names(text), ["a", "deeper::b"]);
    }

    #[test]
    fn macros_make_tests() {
        let text = "for_each_backend!(a, b,); parts!(c = X, d = Y); proptest! { #[test] fn e(x in any::<u8>()) {} }";
        let expected = ["ebpf::a", "nft::a", "ebpf::b", "nft::b", "c", "d", "e"];
        assert_eq!(names(text), expected);
        let error = items("mod x { macro_rules! new { ($n:ident) => { #[test] fn $n() {} } } }")
            .expect_err("nobody has said which tests it makes");
        assert!(error.to_string().starts_with("new! makes tests"), "{error}");
        assert!(items("for_each_backend!(a = b);").is_err());
        assert!(names("macro_rules! parts { ($n:ident) => { #[test] fn $n() {} } }").is_empty());
    }

    #[test]
    fn statements_of_where_tests_run_are_told() {
        let text = "mod a { #[test] fn b() {} lte_tests::runs_on!(newest, long; b); }";
        let items = items(text).expect("it can be read");
        assert_eq!(items.tests, ["a::b"]);
        assert_eq!(items.statements.len(), 1);
        assert_eq!(items.statements[0].within, ["a"]);
        assert!(
            Items::default()
                .read(&[], &trees("runs_on!(4);").expect("tokens"))
                .is_err()
        );
    }

    #[test]
    fn modules_of_other_files_are_told() {
        let text =
            "#[path = \"a_tests.rs\"]\n#[cfg(test)] mod tests;\npub(crate) mod b; mod c { mod d; }";
        let module = |within: &[&str], name: &str, path: Option<&str>| Module {
            within: within.iter().map(|&part| part.to_owned()).collect(),
            name: name.to_owned(),
            path: path.map(str::to_owned),
        };
        assert_eq!(
            items(text).expect("it can be read").modules,
            [
                module(&[], "tests", Some("a_tests.rs")),
                module(&[], "b", None),
                module(&["c"], "d", None)
            ]
        );
    }
}
