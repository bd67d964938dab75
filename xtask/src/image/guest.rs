//! The guest's userland: this program as its init, tools of the host with their libraries, a
//! busybox for the rest, and the few files in /etc that they read.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::cpio::{Entry, Tree};
use super::elf;
use crate::host::{command, tools};
use crate::vm::protocol::{INIT, PLAN, Plan};

/// busybox's tools, for what the host's do not bring. Its own `ip` and the like are not among them.
const BUSYBOX: [&str; 65] = [
    "arping", "awk", "base64", "basename", "cat", "chmod", "chown", "cmp", "cp", "cut", "date",
    "dd", "df", "diff", "dirname", "dmesg", "du", "env", "expr", "false", "find", "free", "grep",
    "head", "hexdump", "hostname", "id", "kill", "killall", "less", "ln", "ls", "mkdir", "mkfifo",
    "mknod", "mktemp", "mount", "mv", "nc", "od", "pidof", "printf", "ps", "readlink", "realpath",
    "rm", "rmdir", "sed", "seq", "sleep", "sort", "stat", "sync", "tail", "tee", "test", "time",
    "touch", "tr", "true", "umount", "uname", "vi", "wc", "xargs",
];

/// Libraries that are loaded by name while a program runs, which ldd does not see.
const LOADED_LATER: [&str; 2] = ["libgcc_s.so.1", "libnss_files.so.2"];

/// Directories with data of the tools.
const DATA: [&str; 5] = [
    "/etc/iproute2",
    "/usr/share/iproute2",
    "/usr/lib/iproute2",
    "/usr/lib/tc",
    "/usr/lib/x86_64-linux-gnu/tc",
];

const ETC: [(&str, &str); 9] = [
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\ntcpdump:x:100:100::/nonexistent:/usr/sbin/nologin\n\
         systemd-network:x:998:998::/nonexistent:/usr/sbin/nologin\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    (
        "/etc/group",
        "root:x:0:\ntcpdump:x:100:\nsystemd-network:x:998:\nnogroup:x:65534:\n",
    ),
    ("/etc/resolv.conf", "nameserver 127.0.0.1\n"),
    // From it systemd-networkd makes the names of its DHCP clients.
    ("/etc/machine-id", "6c74652d6261636b75702d6c61620001\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    (
        "/etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    ),
    (
        "/etc/protocols",
        "ip 0 IP\nicmp 1 ICMP\nigmp 2 IGMP\ntcp 6 TCP\nudp 17 UDP\nipv6 41 IPv6\ngre 47 GRE\n\
         esp 50 IPSEC-ESP\nah 51 IPSEC-AH\nipv6-icmp 58 IPv6-ICMP icmpv6\nsctp 132 SCTP\n\
         udplite 136 UDPLite\n",
    ),
    (
        "/etc/services",
        "echo 7/tcp\necho 7/udp\ndiscard 9/tcp\ndiscard 9/udp\nssh 22/tcp\ndomain 53/tcp\n\
         domain 53/udp\nbootps 67/udp\nbootpc 68/udp\nhttp 80/tcp\nntp 123/udp\nhttps 443/tcp\n\
         mdns 5353/udp\n",
    ),
    // A device of its own for each namespace would otherwise come with the module.
    (
        "/etc/modprobe.d/lab.conf",
        "options dummy numdummies=0\noptions ifb numifbs=0\n",
    ),
];

/// A file of the host to bring along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extra {
    pub(crate) host: PathBuf,
    /// Where the guest sees it.
    pub(crate) guest: PathBuf,
}

/// The guest's files but for the kernel's modules. Tools must have been required before.
pub(crate) fn userland(plan: &Plan, extras: &[Extra]) -> Result<Tree> {
    let mut tree = Tree::default();
    for (link, target) in [
        ("/bin", "usr/bin"),
        ("/sbin", "usr/sbin"),
        ("/lib", "usr/lib"),
        ("/lib64", "usr/lib64"),
    ] {
        tree.put(link, Entry::Link(target.to_owned()));
    }
    for dir in [
        "/dev",
        "/proc",
        "/sys",
        "/run",
        "/root",
        "/mnt",
        "/etc",
        "/usr/bin",
        "/usr/sbin",
        "/usr/lib",
        "/usr/lib64",
        "/var/lib",
        "/var/log",
    ] {
        tree.put(dir, Entry::Dir(0o755));
    }
    tree.put("/tmp", Entry::Dir(0o1777));
    tree.put("/var/run", Entry::Link("/run".to_owned()));
    // The kernel opens it for init before anything is mounted.
    tree.put("/dev/console", Entry::Char(5, 1));
    for (path, text) in ETC {
        tree.put(path, Entry::Bytes(text.as_bytes().to_vec(), 0o644));
    }
    put_tools(&mut tree)?;
    // This link reads well even where the file was meanwhile replaced by a newer build.
    let own = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    let own = elf::stripped(&own, "init")?;
    elf::put_program(&mut tree, &own, Path::new(INIT))?;
    tree.put(PLAN, Entry::Bytes(serde_json::to_vec(plan)?, 0o644));
    for extra in extras {
        put_extra(&mut tree, extra)?;
    }
    Ok(tree)
}

fn put_tools(tree: &mut Tree) -> Result<()> {
    let busybox = tools::path("busybox")?;
    elf::put_program(tree, &busybox, Path::new("/usr/bin/busybox"))?;
    for name in BUSYBOX {
        let link = Path::new("/usr/bin").join(name);
        tree.put(link, Entry::Link("busybox".to_owned()));
    }
    for tool in tools::GUEST.iter().filter(|tool| tool.program != "busybox") {
        let file = tools::path(tool.program)?;
        let real = file
            .canonicalize()
            .with_context(|| format!("cannot find {}", file.display()))?;
        let at = Path::new("/usr/sbin").join(tool.program);
        elf::put_program(tree, &real, &at)?;
    }
    // One program under several names.
    for name in ["rmmod", "insmod", "lsmod", "depmod"] {
        let link = Path::new("/usr/sbin").join(name);
        tree.put(link, Entry::Link("modprobe".to_owned()));
    }
    // A shell that takes `ip` for the file and not for a tool of its own.
    tree.put("/usr/bin/sh", Entry::Link("../sbin/bash".to_owned()));
    tree.put("/usr/bin/bash", Entry::Link("../sbin/bash".to_owned()));
    if let Some(bpftool) = command::which("bpftool") {
        elf::put_program(tree, &bpftool, Path::new("/usr/sbin/bpftool"))?;
    }
    for dir in DATA.map(Path::new) {
        if dir.is_dir() {
            tree.put_dir(dir, dir)?;
        }
    }
    for library in LOADED_LATER {
        for dir in ["/lib/x86_64-linux-gnu", "/usr/lib", "/usr/lib64"] {
            let file = Path::new(dir).join(library);
            if file.exists() {
                tree.put(elf::real_place(&file)?, Entry::Host(file, 0o644));
                break;
            }
        }
    }
    Ok(())
}

fn put_extra(tree: &mut Tree, extra: &Extra) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if extra.host.is_dir() {
        return tree.put_dir(&extra.host, &extra.guest);
    }
    let mode = extra
        .host
        .metadata()
        .with_context(|| format!("cannot bring {} along", extra.host.display()))?
        .permissions()
        .mode();
    let mut file = extra.host.clone();
    if is_elf(&file)? {
        elf::put_libraries(tree, &file)?;
        if let Some(name) = file.file_name() {
            let name = name.to_string_lossy().into_owned();
            file = elf::stripped(&file, &name)?;
        }
    }
    tree.put(&extra.guest, Entry::Host(file, mode & 0o7777));
    Ok(())
}

fn is_elf(file: &Path) -> Result<bool> {
    use std::io::Read as _;
    let mut start = Vec::new();
    std::fs::File::open(file)
        .with_context(|| format!("cannot read {}", file.display()))?
        .take(4)
        .read_to_end(&mut start)?;
    Ok(start == b"\x7fELF")
}
