#![no_main]

coracle_fuzz::target!("kernel_words");
