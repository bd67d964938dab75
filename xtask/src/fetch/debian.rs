//! Debian's package lists: stanzas, versions, and which packages make a kernel. Pure.

use std::cmp::Ordering;

/// One version of one package, as `apt-cache show` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// `Depends`, as written.
    pub(crate) depends: String,
    pub(crate) sha256: String,
    /// Bytes to fetch.
    pub(crate) size: u64,
    /// Path on the mirror; its last part is the archive's name.
    pub(crate) filename: String,
}

/// Reads stanzas: fields at a line's start, stanzas parted by blank lines.
pub(crate) fn parse_stanzas(text: &str) -> Vec<Package> {
    text.split("\n\n")
        .filter_map(|stanza| {
            let mut package = Package::default();
            for line in stanza.lines().filter(|line| !line.starts_with(' ')) {
                let Some((field, value)) = line.split_once(':') else {
                    continue;
                };
                let value = value.trim();
                match field {
                    "Package" => value.clone_into(&mut package.name),
                    "Version" => value.clone_into(&mut package.version),
                    "Depends" => value.clone_into(&mut package.depends),
                    "SHA256" => value.clone_into(&mut package.sha256),
                    "Filename" => value.clone_into(&mut package.filename),
                    "Size" => package.size = value.parse().unwrap_or(0),
                    _ => {}
                }
            }
            (!package.name.is_empty() && !package.version.is_empty()).then_some(package)
        })
        .collect()
}

/// Names and versions of what `apt-get -s install` would install, in lines such as
/// `Inst libc6 (2.41-12 Debian:13.1/stable [amd64]) [x:amd64 ]`.
pub(crate) fn parse_installed(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
            let version = rest.split([' ', ')']).next()?;
            Some((name.to_owned(), version.to_owned()))
        })
        .collect()
}

/// The upstream part of a package version: `2.0` of `1:2.0-3+b1`.
pub(crate) fn upstream(version: &str) -> &str {
    split_version(version).1
}

/// Whether a version, a package's or upstream's, is of an upstream series: `6.1.176-1` is of `6.1`,
/// `6.12.3-1` is not.
pub(crate) fn is_of_series(version: &str, series: &str) -> bool {
    let upstream = version.split_once(':').map_or(version, |(_, rest)| rest);
    upstream
        .strip_prefix(series)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '+', '~']))
}

/// The newest cloud kernel of a series. The meta package of a suite names one version only, and
/// may have moved on; the real packages of other versions often are still there.
pub(crate) fn newest_kernel<'a>(packages: &'a [Package], series: &str) -> Option<&'a Package> {
    packages
        .iter()
        .filter(|package| is_kernel_image(&package.name) && is_of_series(&package.version, series))
        .max_by(|a, b| compare_versions(&a.version, &b.version))
}

/// `linux-image-<release>-cloud-amd64`: neither the meta package nor the unsigned or debug ones.
pub(crate) fn is_kernel_image(name: &str) -> bool {
    name.strip_prefix("linux-image-")
        .and_then(|rest| rest.strip_suffix("-cloud-amd64"))
        .is_some_and(|release| release.starts_with(|c: char| c.is_ascii_digit()))
}

/// The parts a newer kernel image is split into, from its `Depends`: `linux-binary-…` has the
/// kernel, `linux-modules-…` the modules, `linux-base-<release>` the lists of what is built in.
pub(crate) fn kernel_parts(depends: &str) -> Vec<String> {
    depends
        .split(',')
        .filter_map(|one| one.split_whitespace().next())
        .filter(|name| {
            ["linux-binary-", "linux-modules-", "linux-base-"]
                .iter()
                .filter_map(|start| name.strip_prefix(start))
                .any(|release| release.starts_with(|c: char| c.is_ascii_digit()))
        })
        .map(str::to_owned)
        .collect()
}

/// Compares as dpkg does (deb-version(7)).
pub(crate) fn compare_versions(a: &str, b: &str) -> Ordering {
    let (epoch_a, upstream_a, revision_a) = split_version(a);
    let (epoch_b, upstream_b, revision_b) = split_version(b);
    epoch_a
        .cmp(&epoch_b)
        .then_with(|| compare_parts(upstream_a, upstream_b))
        .then_with(|| compare_parts(revision_a, revision_b))
}

fn split_version(version: &str) -> (u64, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
    (epoch.parse().unwrap_or(0), upstream, revision)
}

fn compare_parts(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (text_a, rest_a) = split_at_class(a, false);
        let (text_b, rest_b) = split_at_class(b, false);
        let (number_a, rest_a) = split_at_class(rest_a, true);
        let (number_b, rest_b) = split_at_class(rest_b, true);
        let order =
            compare_text(text_a, text_b).then_with(|| numeric(number_a).cmp(&numeric(number_b)));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

fn numeric(digits: &str) -> u64 {
    digits.parse().unwrap_or(0)
}

fn split_at_class(text: &str, digits: bool) -> (&str, &str) {
    let end = text
        .find(|c: char| c.is_ascii_digit() != digits)
        .unwrap_or(text.len());
    text.split_at(end)
}

/// A tilde sorts before the end, the end before letters, letters before all else.
fn compare_text(a: &str, b: &str) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    };
    let (a, b) = (a.as_bytes(), b.as_bytes());
    (0..a.len().max(b.len()))
        .map(|at| weight(a.get(at)).cmp(&weight(b.get(at))))
        .find(|order| *order != Ordering::Equal)
        .unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            ..Package::default()
        }
    }

    #[test]
    fn versions_compare_as_dpkg_does() {
        for (smaller, larger) in [
            ("1.0~rc1-1", "1.0-1"),
            ("7.2.12-1~bpo13+1", "7.2.12-1"),
            ("6.1.9-1", "6.1.176-1"),
            ("5.10.223-1", "1:1.0-1"),
            ("1.0-1", "1.0-1+b1"),
            ("1.0a", "1.0+"),
            ("1.0", "1.0.1"),
        ] {
            assert_eq!(
                compare_versions(smaller, larger),
                Ordering::Less,
                "{smaller} {larger}"
            );
            assert_eq!(compare_versions(larger, smaller), Ordering::Greater);
            assert_eq!(compare_versions(larger, larger), Ordering::Equal);
        }
    }

    #[test]
    fn a_series_is_not_a_mere_prefix() {
        assert!(is_of_series("6.1.176-1", "6.1"));
        assert!(is_of_series("7.2-1~exp1", "7.2"));
        assert!(is_of_series("1:6.1.176-1", "6.1"));
        assert!(is_of_series("1.0.6", "1.0.6"));
        assert!(!is_of_series("6.12.95-1~bpo12+1", "6.1"));
        assert!(!is_of_series("5.10.223-1", "0.22"));
    }

    #[test]
    fn the_newest_of_a_series_is_taken_though_the_meta_package_moved_on() {
        let list = [
            package("linux-image-cloud-amd64", "7.2.99-1"),
            package("linux-image-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"),
            package("linux-image-7.2.9+deb13-cloud-amd64", "7.2.9-1~bpo13+1"),
            package("linux-image-7.2.12+deb14-cloud-amd64", "7.2.12-1"),
            package("linux-image-7.2.13+deb14-cloud-amd64-unsigned", "7.2.13-1"),
            package("linux-image-7.2.13+deb14-amd64", "7.2.13-1"),
            package("linux-image-7.2.12+deb13-cloud-amd64", "7.2.12-1~bpo13+1"),
        ];
        let newest = newest_kernel(&list, "7.2").expect("there are some of 7.2");
        assert_eq!(newest.name, "linux-image-7.2.12+deb14-cloud-amd64");
        assert_eq!(newest_kernel(&list, "6.1"), None);
    }

    #[test]
    fn the_parts_of_a_split_kernel_are_found() {
        let depends = "dracut | linux-initramfs-tool, linux-base-7.2.12+deb14-cloud-amd64 (= 7.2.12-1), \
                       linux-binary-7.2.12+deb14-cloud-amd64 (= 7.2.12-1), \
                       linux-modules-7.2.12+deb14-cloud-amd64 (= 7.2.12-1)";
        assert_eq!(
            kernel_parts(depends),
            [
                "linux-base-7.2.12+deb14-cloud-amd64",
                "linux-binary-7.2.12+deb14-cloud-amd64",
                "linux-modules-7.2.12+deb14-cloud-amd64"
            ]
        );
        assert!(kernel_parts("kmod, linux-base (>= 4.3~)").is_empty());
    }

    #[test]
    fn what_would_be_installed_is_read_from_apts_simulation() {
        let text = "Reading package lists...\n  libmnl0 nftables\n\
                    Inst libgcc-s1 (14.2.0-19 Debian:13.8/stable [amd64]) []\n\
                    Inst libmnl0 (1.0.4-3 Debian:11.11/oldoldstable, Debian:12.15/oldstable [amd64])\n\
                    Inst libgmp10 (2:6.3.0+dfsg-3 Debian:13.8/stable [amd64])\n\
                    Conf libmnl0 (1.0.4-3 Debian:12.15/oldstable [amd64])\n";
        let expected = [
            ("libgcc-s1", "14.2.0-19"),
            ("libmnl0", "1.0.4-3"),
            ("libgmp10", "2:6.3.0+dfsg-3"),
        ]
        .map(|(name, version)| (name.to_owned(), version.to_owned()));
        assert_eq!(parse_installed(text), expected);
    }

    #[test]
    fn an_upstream_version_has_neither_epoch_nor_revision() {
        assert_eq!(upstream("1.1.3-1"), "1.1.3");
        assert_eq!(upstream("2:6.3.0+dfsg-3+b1"), "6.3.0+dfsg");
        assert_eq!(upstream("7.2"), "7.2");
    }

    #[test]
    fn stanzas_are_read_with_continuation_lines_left_out() {
        let text = "Package: a\nVersion: 1-1\nSize: 12\nDescription: x\n Version: 9\nSHA256: ab\n\n\
                    Package: b\nVersion: 2\nDepends: c (= 1), d\nFilename: pool/b_2_all.deb\n\nrubbish\n";
        let found = parse_stanzas(text);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].version.as_str(), found[0].size), ("1-1", 12));
        assert_eq!(found[0].sha256, "ab");
        assert_eq!(found[1].depends, "c (= 1), d");
        assert_eq!(found[1].filename, "pool/b_2_all.deb");
    }
}
