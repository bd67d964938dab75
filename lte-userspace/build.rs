//! Builds the eBPF object that the agent carries. A build that fails is an error: there is no
//! agent without its programs.

use aya_build::{Package, Toolchain};

fn main() -> anyhow::Result<()> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("lte-ebpf");
    let common = root.with_file_name("lte-common");
    println!("cargo:rerun-if-changed={}", common.display());
    // rustc of the stable channel then builds core for the BPF target.
    // SAFETY: a build script has one thread.
    unsafe { std::env::set_var("RUSTC_BOOTSTRAP", "1") };
    let toolchain = std::env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "1.95.0".into());
    aya_build::build_ebpf(
        [Package {
            name: "lte-ebpf",
            root_dir: &root.display().to_string(),
            no_default_features: false,
            features: &[],
        }],
        Toolchain::Custom(&toolchain),
    )
}
