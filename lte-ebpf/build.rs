//! Rebuilds when the linker changes: it makes the object, and cargo does not see it.

fn main() {
    if let Some(paths) = std::env::var_os("PATH")
        && let Some(linker) = std::env::split_paths(&paths)
            .map(|dir| dir.join("bpf-linker"))
            .find(|path| path.is_file())
    {
        println!("cargo:rerun-if-changed={}", linker.display());
    }
}
