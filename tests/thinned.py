"""Which cases of a long list run every time; the others are slow, and `make test-slow` runs them."""

from __future__ import annotations

from typing import Final

import pytest

#: Of the cases of these tests, which take longest, the first of so many runs every time.
EVERY: Final = {
    "tests/backends/cpu/test_blocks.py": {
        "test_random_programs": 4,
    },
    "tests/backends/cpu/test_signals.py": {
        "test_a_handler_ends_a_loop": 3,
    },
    "tests/backends/llvm/test_emit_loops.py": {
        "test_every_combine": 3,
        "test_strided_reversed_shared_and_gathered_elements": 4,
    },
    "tests/backends/llvm/test_emit_products.py": {
        "test_products": 4,
        "test_products_in_numba": 3,
    },
    "tests/backends/llvm/test_emit_scalar.py": {
        "test_casts": 3,
        "test_elementary_functions_are_called_in_every_width": 3,
        "test_float_operators_follow_numpy": 2,
        "test_integer_operators": 2,
    },
    "tests/backends/llvm/test_mathlib.py": {
        "test_every_number_of_lanes_gives_the_same_bits_as_numpy": 4,
    },
    "tests/backends/llvm/test_tiles.py": {
        "test_rows_of_every_width": 4,
    },
    "tests/backends/llvm/test_unrolling.py": {
        "test_long_bodies_are_as_much_code_at_any_size": 2,
    },
    "tests/backends/loops/test_contraction.py": {
        "test_all_emitters_compute_the_same_bits": 2,
        "test_sums_of_products": 4,
    },
    "tests/backends/lower/test_elements.py": {
        "test_random_programs_are_numpys": 2,
    },
    "tests/backends/lower/test_fuse_values.py": {
        "test_lowered_is_the_reference": 4,
    },
    "tests/backends/lower/test_in_place.py": {
        "test_random_bodies": 2,
        "test_values_and_derivatives": 3,
    },
    "tests/backends/routines/test_cholesky_derivatives.py": {
        "test_every_number_of_blocks": 3,
    },
    "tests/backends/routines/test_factorizations.py": {
        "test_guard_zones": 4,
        "test_numba_gives_the_bits_of_machine_code": 4,
    },
    "tests/backends/routines/test_routines.py": {
        "test_argsort_of_every_dtype": 3,
    },
    "tests/backends/test_third_target.py": {
        "test_derivatives_of_primitives": 4,
        "test_primitives": 4,
    },
    "tests/compose/test_callbacks.py": {
        "test_a_guard_that_fails_calls_nobody_twice": 2,
    },
    "tests/compose/test_checkpointed_bits.py": {
        "test_compiled_loops_of_scalars": 2,
        "test_compiled_without_the_passes_that_add_in_another_order": 4,
    },
    "tests/compose/test_checkpointed_scan.py": {
        "test_it_is_the_plain_loop": 4,
    },
    "tests/compose/test_checkpointed_while.py": {
        "test_arrays": 3,
        "test_gradients_are_those_of_the_plain_loop_to_the_last_bit": 2,
        "test_loops_in_loops": 2,
        "test_turns_run_in_as_few_sweeps_as_were_promised": 2,
    },
    "tests/compose/test_loops.py": {
        "test_a_scan_is_the_loop_in_python": 2,
    },
    "tests/compose/test_python_loops.py": {
        "test_the_same_as_scan": 4,
    },
    "tests/compose/test_residual_limit.py": {
        "test_gradients_are_those_of_plain_loops": 3,
        "test_too_little_says_how_much_works": 2,
    },
    "tests/compose/test_shared_values.py": {
        "test_device_programs": 3,
    },
    "tests/cuda/emit/test_emit_atomics.py": {
        "test_every_combination": 4,
    },
    "tests/cuda/emit/test_emit_gemm.py": {
        "test_halves_are_rounded_once": 4,
    },
    "tests/cuda/emit/test_emit_scans.py": {
        "test_log_sum_exps": 4,
        "test_nothing_is_spilled": 2,
        "test_recurrences": 4,
    },
    "tests/cuda/schedule/test_half_precision.py": {
        "test_adjoints": 3,
        "test_products": 4,
    },
    "tests/cuda/schedule/test_horizontal_fusion.py": {
        "test_results_are_those_of_launches_apart": 4,
    },
    "tests/cuda/schedule/test_scan_epilogues.py": {
        "test_what_reads_other_elements_is_no_follower": 2,
    },
    "tests/cuda/schedule/test_scans.py": {
        "test_derivatives_on_a_device_are_the_cpus": 2,
        "test_schedule_keeps_the_program": 4,
    },
    "tests/cuda/schedule/test_schedule_primitives.py": {
        "test_schedule_keeps_the_program": 4,
    },
    "tests/cuda/schedule/test_schedule_programs.py": {
        "test_schedule_keeps_the_program": 4,
    },
    "tests/cuda/schedule/test_sorting.py": {
        "test_bits_are_left_out_only_where_all_elements_had_16": 2,
        "test_denormals_are_zeros_where_comparisons_take_them_for_it": 2,
        "test_every_dtype": 4,
        "test_scattered_sums_are_sorted_by_the_bits_that_places_have": 2,
        "test_the_order_is_that_of_numpy": 3,
    },
    "tests/cuda/test_assembly.py": {
        "test_programs_assemble": 4,
        "test_training_steps_in_16_bits_assemble": 2,
    },
    "tests/cuda/test_corners.py": {
        "test_products_of_any_shape": 4,
        "test_scans_along_any_axis": 3,
        "test_scatters_with_duplicates_and_positions_outside": 4,
        "test_sizes_about_the_thresholds": 3,
    },
    "tests/cuda/test_loops.py": {
        "test_a_loop_is_the_cpus": 4,
        "test_a_schedule_keeps_the_loop": 4,
    },
    "tests/cuda/test_loops_in_every_mode.py": {
        "test_a_schedule_keeps_a_loop_in_every_mode": 4,
        "test_the_device_passes_what_the_cpu_passes": 3,
    },
    "tests/cuda/test_primitives.py": {
        "test_device_is_the_reference": 4,
    },
    "tests/cuda/test_programs.py": {
        "test_program_is_the_cpus": 4,
    },
    "tests/cuda/test_random_programs.py": {
        "test_derivatives_on_the_device_are_the_cpus": 3,
        "test_device_is_the_reference": 3,
    },
    "tests/cuda/test_routines_as_graphs.py": {
        "test_device_is_the_reference": 3,
        "test_faces": 2,
        "test_one_matrix_without_a_result": 3,
        "test_values_and_gradients": 2,
    },
    "tests/devices/test_faces.py": {
        "test_as_on_the_cpu": 4,
    },
    "tests/devices/test_half_products.py": {
        "test_products": 4,
    },
    "tests/faces/lax/test_collectives.py": {
        "test_as_jax": 4,
    },
    "tests/faces/lax/test_lax_linalg.py": {
        "test_cholesky": 2,
        "test_cholesky_update": 2,
        "test_eigh": 2,
        "test_qr": 2,
        "test_svd": 2,
        "test_triangular_solve": 4,
    },
    "tests/faces/nn/test_nn.py": {
        "test_derivatives": 3,
        "test_derivatives_of_logits": 3,
    },
    "tests/faces/nn/test_nn_layers.py": {
        "test_attention_like_jax": 2,
        "test_derivatives_like_jax_along_axes": 3,
        "test_derivatives_like_jax_also_at_kinks": 4,
        "test_initializers_like_jax": 4,
    },
    "tests/faces/numpy/test_edges.py": {
        "test_like_numpy": 4,
    },
    "tests/faces/numpy/test_everyday.py": {
        "test_like_jax": 4,
        "test_two_derivatives": 4,
        "test_with_known_values_like_jax": 3,
    },
    "tests/faces/numpy/test_factorizations.py": {
        "test_batched": 4,
        "test_derivatives": 4,
        "test_gradients_of_larger_matrices": 4,
        "test_values": 4,
    },
    "tests/faces/numpy/test_factorizations_bad_input.py": {
        "test_a_matrix_alone_is_as_in_a_stack": 2,
        "test_a_matrix_that_is_not_finite_spoils_itself_alone": 4,
        "test_so_do_gradients": 4,
    },
    "tests/faces/numpy/test_gradients.py": {
        "test_like_jax": 4,
    },
    "tests/faces/numpy/test_indexing.py": {
        "test_compiled_and_batched_like_jax": 4,
        "test_modes_like_jax": 4,
        "test_wider_values_are_cast_like_jax": 3,
    },
    "tests/faces/numpy/test_integers.py": {
        "test_arithmetic_says_what_does_not_fit": 3,
        "test_comparisons_are_exact": 3,
        "test_statistics_are_computed_in_float64": 4,
    },
    "tests/faces/numpy/test_linalg.py": {
        "test_functions_of_matrices": 4,
        "test_powers": 4,
    },
    "tests/faces/numpy/test_masks.py": {
        "test_first_and_second_derivatives": 4,
    },
    "tests/faces/numpy/test_memory.py": {
        "test_isin_is_numpys": 4,
    },
    "tests/faces/numpy/test_numpy.py": {
        "test_like_jax": 4,
        "test_like_jax_in_64_bits": 4,
    },
    "tests/faces/numpy/test_numpy_parity.py": {
        "test_like_numpy": 4,
    },
    "tests/faces/numpy/test_sixteen_bits.py": {
        "test_values_and_gradients": 4,
    },
    "tests/faces/numpy/test_sorting.py": {
        "test_derivatives_of_every_operand": 2,
    },
    "tests/faces/numpy/test_special.py": {
        "test_like_jax": 4,
    },
    "tests/faces/numpy/test_structural.py": {
        "test_orders": 4,
        "test_running_combinations": 2,
        "test_sorting": 3,
    },
    "tests/faces/numpy/test_windows.py": {
        "test_convolutions": 3,
    },
    "tests/faces/optim/test_optim_optax.py": {
        "test_fifty_steps_like_optax": 4,
        "test_lbfgs_like_optax": 3,
        "test_schedules_like_optax": 4,
    },
    "tests/faces/python/test_check_grads.py": {
        "test_two_orders": 4,
    },
    "tests/faces/random/test_keys.py": {
        "test_as_jax": 4,
    },
    "tests/faces/random/test_random.py": {
        "test_bits": 4,
        "test_normal": 3,
        "test_randint": 4,
        "test_uniform": 4,
    },
    "tests/faces/random/test_random_distributions.py": {
        "test_compiled_and_batched_over_keys": 4,
        "test_factors_of_traced_matrices": 4,
    },
    "tests/faces/scipy/test_bands.py": {
        "test_eigh_tridiagonal": 2,
        "test_solve_banded": 3,
        "test_solveh_banded": 3,
    },
    "tests/faces/scipy/test_exponential.py": {
        "test_expm_like_jax": 2,
        "test_polar": 4,
    },
    "tests/faces/scipy/test_factorizations.py": {
        "test_generalized_eigh": 3,
        "test_lu": 2,
        "test_lu_factor": 2,
        "test_qr": 3,
        "test_svd": 3,
    },
    "tests/faces/scipy/test_matrix_functions.py": {
        "test_funm": 2,
        "test_solve_sylvester": 2,
        "test_sqrtm": 2,
    },
    "tests/faces/scipy/test_reductions.py": {
        "test_hessenberg": 3,
        "test_householder_product": 2,
    },
    "tests/faces/scipy/test_systems.py": {
        "test_cho_solve": 3,
        "test_inverses_and_determinants": 3,
        "test_lu_solve": 3,
        "test_solve": 3,
        "test_solve_of_symmetric_matrices": 4,
        "test_solve_triangular": 3,
    },
    "tests/generator/test_generated.py": {
        "test_programs": 4,
    },
    "tests/generator/test_loops.py": {
        "test_programs": 3,
        "test_programs_dealt_out_to_the_threads_of_a_device": 2,
    },
    "tests/generator/test_planted_loops.py": {
        "test_a_fault_is_found": 3,
    },
    "tests/inspection/test_explain.py": {
        "test_traffic_is_what_the_emulator_sees": 4,
    },
    "tests/kernels/test_math.py": {
        "test_error_is_a_few_ulps_for_numbers_of_every_size": 4,
    },
    "tests/kernels/test_numba_math.py": {
        "test_numba_agrees_with_numpy": 3,
    },
    "tests/parity/test_corpus.py": {
        "test_compiled": 4,
    },
    "tests/parity/test_loops.py": {
        "test_loops": 3,
    },
    "tests/parity/test_promotion.py": {
        "test_one_operand": 4,
        "test_two_operands": 3,
    },
    "tests/passes/test_routines_as_graphs.py": {
        "test_graphs_are_the_reference": 4,
    },
    "tests/passes/test_unroll_matrices.py": {
        "test_programs_and_their_gradients": 4,
    },
    "tests/primitives/test_cumulative.py": {
        "test_values_and_gradients_are_those_of_jax": 3,
    },
    "tests/primitives/test_engines.py": {
        "test_engine_is_the_reference": 3,
    },
    "tests/primitives/test_special_points.py": {
        "test_value_and_two_derivatives_are_those_of_jax": 3,
    },
    "tests/solve/test_krylov.py": {
        "test_batches_of_matrices": 2,
        "test_containers": 2,
        "test_corners": 2,
        "test_cycles_as_scipy_and_jax": 3,
        "test_derivatives_as_of_a_dense_solve": 2,
        "test_derivatives_by_differences": 3,
        "test_few_bits": 3,
        "test_solves": 4,
        "test_tells_a_matrix_from_its_transpose": 2,
    },
    "tests/solve/test_least_squares.py": {
        "test_finds_what_scipy_finds": 3,
    },
    "tests/solve/test_minimize.py": {
        "test_derivatives": 2,
        "test_finds_the_minimum": 4,
        "test_what_is_no_solution": 4,
    },
    "tests/solve/test_ode.py": {
        "test_batches": 3,
        "test_closed_forms": 2,
    },
    "tests/solve/test_ode_derivatives.py": {
        "test_lotka_volterra": 3,
        "test_one_time_and_equal_times": 3,
        "test_parameters_that_are_matrices": 2,
    },
    "tests/solve/test_systems.py": {
        "test_a_batch_stops_one_by_one": 3,
        "test_an_equation_too_many": 3,
        "test_containers": 3,
        "test_derivatives": 2,
        "test_finds_what_scipy_finds": 3,
        "test_what_is_no_solution": 3,
    },
    "tests/tails/test_derivatives.py": {
        "test_two_derivatives": 4,
    },
    "tests/trace/test_trace_limits.py": {
        "test_a_loop_without_end_is_refused": 3,
    },
    "tests/train/test_accumulate.py": {
        "test_the_parts_are_summed_in_their_order": 2,
    },
}


def slow_cases(items):
    """Those of the collected ``items`` that are left to `make test-slow`."""
    seen: dict[tuple[str, str], int] = {}
    for item in items:
        path, name = item.nodeid.split("::")[0], getattr(item, "originalname", item.name)
        step = EVERY.get(path, {}).get(name)
        if step is not None and item.get_closest_marker("slow") is None:
            number = seen[path, name] = seen.get((path, name), -1) + 1
            if number % step:
                yield item


def every(step, cases, *, several=False):
    """``cases`` for `pytest.mark.parametrize`: the first of each ``step`` runs every time, the others are slow.

    With ``several``, a case is the values of several arguments.
    """

    def slow(case):
        return pytest.param(*(case if several else (case,)), marks=pytest.mark.slow)

    return [slow(case) if k % step else case for k, case in enumerate(cases)]
