"""The step times of many_gpus.sh beside the cost model: a table, and the targets.

usage: many_gpus_table.py FOLDER PREDICTIONS [CARD]
FOLDER has steps-SHAPE-tpN-SHARDING.json of bench_tp_step; PREDICTIONS is what `slora bench tp --json` wrote.
"""
import json
import pathlib
import re
import sys

LORA_LOSS, SPEED_UP, PREDICTION = 0.15, {2: 1.7, 4: 3.0}, 0.15


def read_steps(folder):
    steps, card = {}, ""
    for path in sorted(pathlib.Path(folder).glob("steps-*.json")):
        shape, ranks, sharding = re.fullmatch(r"steps-(.+)-tp(\d+)-(\w+)", path.stem).groups()
        report = json.loads(path.read_text())
        card = report["card"]
        for row in report["results"]:
            key = (shape, f"{row['what']} {row['size']}", row["set"], sharding, int(ranks))
            steps[key] = row
    return steps, card


def choose_card(predictions, wanted, card):
    names = sorted({row["card"] for row in predictions})
    if wanted:
        if wanted not in names:
            sys.exit(f"many_gpus_table: no card '{wanted}' in the predictions, which has {', '.join(names)}")
        return wanted
    kind = next((word for word in card.split() if word in ("H100", "H200", "A100")), None)
    fits = [name for name in names if kind and name.startswith(kind) and ("PCIe" in name) == ("PCIe" in card)]
    return fits[0] if fits else None


def main():
    folder, prediction_file = sys.argv[1:3]
    wanted = sys.argv[3] if len(sys.argv) > 3 else ""
    steps, card = read_steps(folder)
    if not steps:
        sys.exit(f"many_gpus_table: no steps-*.json in {folder}")
    # Without predictions the times stand alone.
    source = pathlib.Path(prediction_file)
    predictions = json.loads(source.read_text())["predictions"] if source.exists() else []
    name = choose_card(predictions, wanted, card)
    predicted = {(row["model"], row["step"], row["set"], row["ranks"]): row for row in predictions if row["card"] == name}
    print(f"card: {card}; predictions for: {name or 'none'}")
    print(f"{'shape':<11}{'step':<14}{'set':<9}{'ranks':>5}{'us':>12}{'collectives':>12}{'LoRA loss':>10}{'speed-up':>9}{'predicted us':>13}{'off by':>8}")
    misses = []
    for (shape, step, kind, sharding, ranks), row in sorted(steps.items(), key=lambda item: (item[0][0], item[0][1], item[0][4], item[0][2], item[0][3])):
        if kind == "base" and sharding == "full":
            continue
        label = "base" if kind == "base" else sharding
        base = steps.get((shape, step, "base", sharding, ranks)) or steps.get((shape, step, "base", "aligned", ranks))
        alone = steps.get((shape, step, kind, sharding, 1)) or steps.get((shape, step, kind, "aligned", 1))
        loss = row["device_us"] / base["device_us"] - 1 if base else None
        speed_up = alone["device_us"] / row["device_us"] if alone else None
        expected = predicted.get((shape, step, label, ranks))
        off = row["device_us"] / expected["microseconds"] - 1 if expected else None
        text = [f"{shape:<11}{step:<14}{label:<9}{ranks:>5}{row['device_us']:>12,.1f}", f"{row['collective_us'] / row['device_us']:>12.1%}"]
        text.append(f"{loss:>10.1%}" if loss is not None and label != "base" else f"{'-':>10}")
        text.append(f"{speed_up:>9.2f}" if speed_up else f"{'-':>9}")
        text.append(f"{expected['microseconds']:>13,.0f}{off:>8.1%}" if expected else f"{'-':>13}{'-':>8}")
        print("".join(text))
        where = f"{shape}, {step}, {label}, {ranks} ranks"
        if label != "base" and ranks in (2, 4) and loss is not None and loss > LORA_LOSS:
            misses.append(f"{where}: LoRA loses {loss:.1%}, the target is {LORA_LOSS:.0%}")
        if label == "base" and shape == "llama-70b" and step.startswith("decode") and speed_up and speed_up < SPEED_UP.get(ranks, 0):
            misses.append(f"{where}: {speed_up:.2f} times one card, the target is {SPEED_UP[ranks]}")
        if off is not None and abs(off) > PREDICTION:
            misses.append(f"{where}: the prediction is off by {off:.1%}, the target is {PREDICTION:.0%}")
    print(f"{len(misses)} misses of the targets")
    for miss in misses:
        print(f"  {miss}")


if __name__ == "__main__":
    main()
