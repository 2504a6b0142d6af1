#![no_main]

coracle_fuzz::target!("last_words");
