//! `coracle device`.

use super::args;
use crate::{context::Context, device, error::Result, show::Format};

pub(super) fn run(ctx: &Context, args: &args::Device, format: Format) -> Result<()> {
    let digest = device::pack(ctx, &args.out)?;
    super::say(format, "device", &format!("{digest}  {}\n", args.out.display()))
}
