"""Writes a file's bytes as a C array: embed.py INPUT OUTPUT NAME."""
import sys

source, target, name = sys.argv[1:]
with open(source, "rb") as file:
    data = file.read()
with open(target, "w") as file:
    file.write(f"static const char {name}_text[] = {{\n")
    for i in range(0, len(data), 20):
        file.write("".join(f"{byte}," for byte in data[i:i + 20]) + "\n")
    file.write(f"}};\nenum {{ {name}_size = sizeof({name}_text) }};\n")
