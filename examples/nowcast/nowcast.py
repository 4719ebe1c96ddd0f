"""Forecast your own frames: train a ConvGRU on a folder of them, score it, forecast what comes.

A folder, or a file, of .npz or .npy arrays: (T, H, W) is a sequence, files with one frame (H, W)
are together one sequence in the order of their names. README.md beside this file has examples.
"""

import argparse
from pathlib import Path

import numpy as np

import convgru
from convgru.nowcasting import lagrangian, pictures, skill, training
from convgru.nowcasting.frames import Units, cut, read


def main() -> None:
    args = arguments()
    units = Units(args.units, args.zero, args.scale, tuple(args.thresholds), args.minutes)
    args.folder.mkdir(parents=True, exist_ok=True)

    def load(path: Path) -> list[np.ndarray]:
        return [units.clean(frames) for frames in read(path, key=args.key, gain=args.gain, offset=args.offset)]

    seen = load(args.frames)
    windows = cut(seen, args.given + min(args.ahead, training.TRAINED))
    print(f"training on {len(windows)} windows of {windows.shape[1]} frames, {windows.shape[2]}x{windows.shape[3]}")
    spec = training.nowcaster(args.patch)
    options = {"steps": args.steps, "seed": args.seed, "move": args.motion}
    weights = training.train(spec, windows, args.given, units, report=report, **options)
    convgru.write(weights, args.folder / "nowcaster.safetensors")

    unseen = load(args.test) if args.test else []
    scores = None
    if unseen:
        windows = cut(unseen, args.given + args.ahead)
        scores = verify(weights, windows[:, : args.given], windows[:, args.given :], units, args)

    # What follows the last frames there are: nobody knows the truth yet.
    given = cut((unseen or seen)[-1:], args.given)[-1:]
    motion = lagrangian.motions(given, move=args.motion)
    frames = training.forecast(weights, args.framework, given, args.ahead, units, motion)
    np.savez_compressed(args.folder / "forecast.npz", frames=frames[0], motion=motion[0])
    if pictures.available():
        ahead = lagrangian.extrapolate(given, args.ahead, motion)
        shown = pictures.Shown(given[0], None, ahead[0], frames[0], motion[0], units, "what comes next")
        leads = sorted({max(1, args.ahead // 4), max(1, args.ahead // 2), args.ahead})
        pictures.draw_strip(args.folder / "forecast.png", shown, scores, leads, overwrite=True)
        pictures.animate(args.folder / "forecast.gif", shown, overwrite=True)
    print(f"the results are in {args.folder}")


def verify(
    weights: convgru.Weights, given: np.ndarray, truth: np.ndarray, units: Units, args: argparse.Namespace
) -> skill.Scores:
    """Print the scores on frames that were not seen in training, beside the rivals'."""
    steps, motion = truth.shape[1], lagrangian.motions(given, move=args.motion)
    forecasts = {
        "forecast": training.forecast(weights, args.framework, given, steps, units, motion),
        "extrapolation": lagrangian.extrapolate(given, steps, motion),
        "persistence": skill.persistence(given, steps),
    }
    scores = skill.score(forecasts, truth, units.thresholds)
    print(f"\nforecast / extrapolation / persistence, on {len(given)} windows of {args.test}")
    for step in range(steps):
        columns = [f"MSE {' / '.join(f'{curve[step]:.4g}' for curve in scores.mse.values())}"]
        for limit, curves in scores.csi.items():
            columns.append(f"CSI >= {limit:g} {' / '.join(f'{curve[step]:.2f}' for curve in curves.values())}")
        print(f"{units.minutes * (step + 1):+4.0f} min  {'   '.join(columns)}")
    return scores


def report(step: int, loss: float) -> None:
    if step % 25 == 0:
        print(f"step {step}: loss {loss:.4f}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("frames", type=Path, help="folder, or file, to train on")
    add("--test", type=Path, help="folder, or file, of other frames, to score the forecasts and to go on from")
    add("--folder", type=Path, default=Path("forecast"), help="where the results go")
    add("--key", help="name of the array in .npz files, if it is not frames nor the only one")
    add("--gain", type=float, default=1.0, help="what one step of the stored numbers means")
    add("--offset", type=float, default=0.0, help="what the stored number 0 means")
    add("--units", default="dBZ", help="name of the unit of stored * gain + offset")
    add("--zero", type=float, default=0.0, help="no echo: weaker and missing (NaN) values become this")
    add("--scale", type=float, default=40.0, help="a strong echo is so much above zero")
    add("--thresholds", type=float, nargs="+", default=[10.0, 20.0], help="events that scores and training count")
    add("--minutes", type=float, default=5.0, help="between two frames")
    add("--given", type=int, default=training.GIVEN, help="frames that a forecast starts from")
    add("--ahead", type=int, default=training.AHEAD, help="frames that it predicts")
    add("--motion", action=argparse.BooleanOptionalAction, default=True, help="follow the motion of the echoes")
    add("--patch", type=int, default=1, help="edge of the network's pixels: 2 is quicker and coarser")
    add("--steps", type=int, default=training.STEPS, help="of training")
    add("--seed", type=int, default=0, help="of initial weights and training crops")
    add("--framework", choices=list(convgru.registry.FRAMEWORKS), default="torch", help="that forecasts")
    return parser.parse_args()


if __name__ == "__main__":
    main()
