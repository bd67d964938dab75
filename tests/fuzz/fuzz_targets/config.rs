//! Texts as config files.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| lte_tests::properties::config(text));
