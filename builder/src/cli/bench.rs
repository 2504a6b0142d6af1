//! `coracle bench`.

use super::{args, build::source};
use crate::{
    bench::{Figures, measure},
    build::{self, Probe},
    chart::boot_chart,
    context::Context,
    error::{Error, Kind, Result},
    show::{Format, bytes, table},
};
use std::path::PathBuf;

pub(super) fn run(ctx: &Context, args: &args::Bench, format: Format) -> Result<()> {
    let mut options = super::build::options(&args.build);
    options.probe = Probe::FirstContainer;
    options.out = Some(options.out.unwrap_or_else(|| PathBuf::from("out/bench")));
    let image = build::build(ctx, &options)?;
    let tools = image.qemu(ctx, &source(&args.build.source))?;
    let (figures, phases) = measure(ctx, &tools, &image, args.pairs)?;
    if let Some(path) = &args.boot_chart {
        let title = format!("{} {} (direct, instruction count)", image.record.name, image.record.version);
        crate::files::replace(path, boot_chart(&title, &phases).as_bytes())?;
    }
    super::print(&match format {
        Format::Json => serde_json::to_string(&figures)
            .map(|line| line + "\n")
            .map_err(|source| Error::new(Kind::Internal, "cannot write JSON").because(source))?,
        Format::Human => human(&figures),
    })
}

fn human(figures: &Figures) -> String {
    let time = |ms: f64, (least, most): (f64, f64)| format!("{ms} ms ({least} to {most})");
    let rows = [
        ("disk image, zstd -19 --long", bytes(figures.image_zstd_bytes)),
        ("kernel", bytes(figures.kernel_bytes)),
        ("initramfs", bytes(figures.initramfs_bytes)),
        ("root file system", bytes(figures.root_bytes)),
        ("init and services", bytes(figures.init_bytes)),
        ("selector", bytes(figures.selector_bytes)),
        (
            "kernel start to container",
            time(figures.kernel_to_container_ms, figures.kernel_to_container_spread_ms),
        ),
        ("bare-kernel floor", time(figures.floor_ms, figures.floor_spread_ms)),
        ("ratio", format!("{:.3}", figures.ratio)),
        ("idle memory, 256 MiB machine", bytes(figures.idle_used_bytes)),
    ];
    let rows: Vec<_> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    let phases: Vec<_> = figures
        .phases
        .iter()
        .map(|phase| vec![phase.name.clone(), phase.ms.to_string(), phase.at.to_string()])
        .collect();
    format!("{}\n{}", table(&["what", "figure"], &rows), table(&["phase", "ms", "at ms"], &phases))
}
