"""The archive: what was received is kept, worked on and sent on, whatever happens to the process.

receipt (who sent what, and what became of it) · rules (the YAML file) · store (files) · index (tables) ·
intake (keep, then acknowledge) · work (durable workflows) · study (what is done with a study) · archive (all
of it behind one door).
"""
