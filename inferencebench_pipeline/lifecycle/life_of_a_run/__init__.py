"""The assets of the group ``life_of_a_run``: the stages from a measurement to a public record."""
