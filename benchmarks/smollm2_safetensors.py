"""Writes SmolLM2-135M-Instruct as safetensors, from the GGUF file of the ``demo`` extra.

    $INFERENCEBENCH_VLLM_PYTHON benchmarks/smollm2_safetensors.py MODEL.gguf FOLDER

Run by an interpreter that has transformers, gguf, accelerate and torch: vLLM's own has. The GGUF
weights are dequantised to bfloat16, so this is not the model as it was trained; it has its shape.
"""

from __future__ import annotations

import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def main() -> None:
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
    model = AutoModelForCausalLM.from_pretrained(
        str(source.parent),
        gguf_file=source.name,
        dtype="bfloat16",
        quantization_config=GgufConfig(dequantize=True, gguf_file=source.name),
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    print(f"written to {folder}")


if __name__ == "__main__":
    main()
