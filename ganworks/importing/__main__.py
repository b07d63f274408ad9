"""Import a checkpoint from the command line: `python -m ganworks.importing FILE TARGET`."""

import argparse
import sys

from ganworks.errors import CheckpointError
from ganworks.importing import ImportReport, import_checkpoint


def main() -> int:
    """Import a file and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m ganworks.importing", description=__doc__)
    parser.add_argument("file", help="a checkpoint of StyleGAN2, StyleGAN3 or ALIS")
    parser.add_argument("target", help="the file to write, such as models/faces/generator.safetensors")
    parser.add_argument("--label")
    parser.add_argument("--license")
    parser.add_argument("--description")
    arguments = parser.parse_args()
    try:
        report = import_checkpoint(
            arguments.file,
            arguments.target,
            label=arguments.label,
            license=arguments.license,
            description=arguments.description,
        )
    except CheckpointError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(in_words(report))
    return 0


def in_words(report: ImportReport) -> str:
    """A report as a few lines."""
    classes = f", {report.c_dim} classes" if report.c_dim else ""
    lines = [
        f"{report.source_name}: {report.format}, {report.resolution} pixels{classes}",
        f"z {report.z_dim}, w {report.w_dim}, {report.num_ws} rows of w, {report.mapping_layers} mapping layers",
        f"{report.parameters:,} parameters in {len(report.layers)} tensors; read in {report.seconds:.1f} s",
        *report.ignored,
        f"SHA-256 of the file: {report.source_sha256}",
        f"SHA-256 of the generator: {report.generator_sha256}",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
