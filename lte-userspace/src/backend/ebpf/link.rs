//! What aya has no call for: taking a link off its interface at once, finding one that has lost its
//! pin, asking where one is and what a program of a number is, making a map of any type. The numbers and layouts are those of `enum bpf_cmd` and `union bpf_attr`
//! in `linux/bpf.h`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aya::programs::TcAttachType;

/// A command of bpf(2), with what it reads and writes.
///
/// # Safety
/// `COMMAND` reads the attributes as they are laid out here, and writes no more than is in them or
/// behind a pointer that is valid for it.
unsafe trait Attributes {
    const COMMAND: libc::c_long;
}

fn bpf<T: Attributes>(attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: what the trait asks for; the kernel takes what it knows behind size_of::<T>() for zero.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            T::COMMAND,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn descriptor<T: Attributes>(attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = i32::try_from(bpf(attributes)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us, and no other code has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
struct Object<const COMMAND: libc::c_long> {
    /// Address of a path that ends with a zero byte.
    path: u64,
    fd: u32,
    flags: u32,
}
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;

// SAFETY: the path is only read, and its makers below keep it.
unsafe impl<const COMMAND: libc::c_long> Attributes for Object<COMMAND> {
    const COMMAND: libc::c_long = COMMAND;
}

fn pinned(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    descriptor(&mut Object::<OBJ_GET> {
        path: path.as_ptr() as u64,
        fd: 0,
        flags: 0,
    })
}

fn pin(link: &OwnedFd, pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    bpf(&mut Object::<OBJ_PIN> {
        path: path.as_ptr() as u64,
        fd: link.as_raw_fd().unsigned_abs(),
        flags: 0,
    })
    .map(drop)
}

/// `BPF_LINK_DETACH` (kernel 5.8).
#[repr(C)]
struct Detach {
    fd: u32,
}

// SAFETY: nothing is written.
unsafe impl Attributes for Detach {
    const COMMAND: libc::c_long = 34;
}

/// A link that was pinned when it was opened.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

impl Link {
    pub(super) fn open(pin: &Path) -> io::Result<Self> {
        pinned(pin).map(Self)
    }

    /// Takes its program off its interface; a pin stays, and holds a severed link.
    ///
    /// Removing the pin alone leaves the program in place until the kernel frees the pin's inode, a
    /// grace period of RCU later.
    pub(super) fn detach(&self) -> io::Result<()> {
        let fd = self.0.as_raw_fd().unsigned_abs();
        bpf(&mut Detach { fd }).map(drop)
    }
}

/// What a pinned link is.
pub(super) fn info(pin: &Path) -> io::Result<Info> {
    Info::of(&pinned(pin)?)
}

/// `BPF_LINK_GET_NEXT_ID` and `BPF_LINK_GET_FD_BY_ID`.
#[repr(C)]
struct ById<const COMMAND: libc::c_long> {
    number: u32,
    next: u32,
    flags: u32,
}
const PROGRAM_GET_FD_BY_ID: libc::c_long = 13;
const LINK_GET_FD_BY_ID: libc::c_long = 30;
const LINK_GET_NEXT_ID: libc::c_long = 31;

// SAFETY: only `next` is written.
unsafe impl<const COMMAND: libc::c_long> Attributes for ById<COMMAND> {
    const COMMAND: libc::c_long = COMMAND;
}

/// The beginning of `struct bpf_link_info`, as it is for a TCX link.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Info {
    kind: u32,
    id: u32,
    /// Id of its program.
    pub(super) program: u32,
    padding: u32,
    /// Index, in the namespace of the interface.
    interface: u32,
    attach_type: u32,
}

/// `BPF_LINK_TYPE_TCX`.
const TCX: u32 = 11;

/// `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct GetInfo {
    fd: u32,
    /// How many bytes of it are wanted.
    length: u32,
    info: u64,
}

// SAFETY: no more than `length` bytes are written to `info`, which its makers below have there; of a
// program no more than `map_count` numbers to `map_ids`, which has room for them.
unsafe impl Attributes for GetInfo {
    const COMMAND: libc::c_long = 15;
}

/// How many maps of a program are asked for; ours has seven.
const MAPS: usize = 64;

/// The beginning of `struct bpf_prog_info`, up to the name.
#[repr(C)]
#[derive(Debug, Default)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    /// Zero: neither kind of instructions is asked for.
    lengths: [u32; 2],
    instructions: [u64; 2],
    load_time: u64,
    created_by: u32,
    /// How many there is room for, and then how many there are.
    map_count: u32,
    map_ids: u64,
    name: [u8; 16],
}

/// Name and numbers of the maps of a program.
pub(super) fn program(id: u32) -> io::Result<(String, Vec<u32>)> {
    let program = descriptor(&mut ById::<PROGRAM_GET_FD_BY_ID> {
        number: id,
        next: 0,
        flags: 0,
    })?;
    let mut maps = vec![0_u32; MAPS];
    let mut info = ProgramInfo {
        map_count: MAPS as u32,
        map_ids: maps.as_mut_ptr() as u64,
        ..ProgramInfo::default()
    };
    bpf(&mut GetInfo {
        fd: program.as_raw_fd().unsigned_abs(),
        length: size_of::<ProgramInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    })?;
    maps.truncate(info.map_count as usize);
    let name = info.name.split(|byte| *byte == 0).next();
    let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
    Ok((name, maps))
}

impl Info {
    fn of(link: &OwnedFd) -> io::Result<Self> {
        let mut info = Self::default();
        bpf(&mut GetInfo {
            fd: link.as_raw_fd().unsigned_abs(),
            length: size_of::<Self>() as u32,
            info: std::ptr::from_mut(&mut info) as u64,
        })?;
        Ok(info)
    }

    /// Whether its program is on an interface of whatever namespace. One that is severed is on none.
    pub(super) fn is_attached(&self) -> bool {
        self.kind == TCX && self.interface != 0
    }

    /// Whether its program is on that interface of this namespace.
    pub(super) fn is_here(&self) -> bool {
        programs(self.interface, self.attach_type).is_ok_and(|here| here.contains(&self.program))
    }
}

/// `BPF_PROG_QUERY`.
#[repr(C)]
struct Query {
    interface: u32,
    attach_type: u32,
    flags: u32,
    attach_flags: u32,
    programs: u64,
    /// How many there is room for, and then how many there are.
    count: u32,
    padding: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    /// Written whatever size is given (`bpf_mprog_query`).
    revision: u64,
}

// SAFETY: no more than `count` numbers are written to `programs`, which its one maker below has there;
// the other addresses are zero, and then not written to.
unsafe impl Attributes for Query {
    const COMMAND: libc::c_long = 16;
}

/// `BPF_MPROG_MAX` of the kernel: what there can be on one hook.
const PROGRAMS: usize = 64;

/// `BPF_TCX_INGRESS` and `BPF_TCX_EGRESS`; custom parents have no TCX.
const fn attach_type(direction: TcAttachType) -> u32 {
    match direction {
        TcAttachType::Ingress => 46,
        TcAttachType::Egress | TcAttachType::Custom(_) => 47,
    }
}

/// The same by the direction.
pub(super) fn programs_at(interface: u32, direction: TcAttachType) -> io::Result<Vec<u32>> {
    programs(interface, attach_type(direction))
}

/// Ids of the programs on an interface of this namespace, by TCX, in the order in which they run.
fn programs(interface: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    let mut programs = vec![0_u32; PROGRAMS];
    let mut query = Query {
        interface,
        attach_type,
        flags: 0,
        attach_flags: 0,
        programs: programs.as_mut_ptr() as u64,
        count: PROGRAMS as u32,
        padding: 0,
        program_flags: 0,
        links: 0,
        link_flags: 0,
        revision: 0,
    };
    bpf(&mut query)?;
    programs.truncate(query.count as usize);
    Ok(programs)
}

/// `BPF_MAP_CREATE`.
#[repr(C)]
struct CreateMap {
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
}

// SAFETY: nothing is written.
unsafe impl Attributes for CreateMap {
    const COMMAND: libc::c_long = 0;
}

/// A map of whatever type and sizes.
pub(super) fn create_map(kind: u32, key: usize, value: usize, entries: u32) -> io::Result<OwnedFd> {
    descriptor(&mut CreateMap {
        kind,
        key: key as u32,
        value: value as u32,
        entries,
        flags: 0,
    })
}

/// Pins the link that has a program at a place, if there is one: its pin was removed, and the
/// kernel has not come to freeing it yet. Says whether there was one.
pub(super) fn pin_again(
    program: u32,
    interface: u32,
    direction: TcAttachType,
    path: &Path,
) -> io::Result<bool> {
    let attach_type = attach_type(direction);
    let mut at = ById::<LINK_GET_NEXT_ID> {
        number: 0,
        next: 0,
        flags: 0,
    };
    // Ends with ENOENT.
    while bpf(&mut at).is_ok() {
        at.number = at.next;
        let mut numbered = ById::<LINK_GET_FD_BY_ID> {
            number: at.number,
            next: 0,
            flags: 0,
        };
        // It may have gone between the two.
        let Ok(link) = descriptor(&mut numbered) else {
            continue;
        };
        let info = Info::of(&link)?;
        if (info.kind, info.program) == (TCX, program)
            && (info.interface, info.attach_type) == (interface, attach_type)
        {
            return pin(&link, path).map(|()| true);
        }
    }
    Ok(false)
}
