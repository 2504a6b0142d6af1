#![no_main]

coracle_fuzz::target!("delta_stream");
