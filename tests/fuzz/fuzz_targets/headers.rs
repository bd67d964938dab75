//! Bytes to facts to a verdict: the pure core, as it runs in the kernel.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lte_tests::properties::headers(data));
