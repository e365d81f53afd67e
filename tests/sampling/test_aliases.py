from __future__ import annotations

import pytest

from difftool.core import SAMPLERS, SPACINGS
from difftool.errors import DifftoolError, Exit
from difftool.sampling import aliases


@pytest.mark.parametrize(
    ("row", "others"),
    [
        ("euler", "Euler, sample_euler, EulerDiscreteScheduler, euler, EULER"),
        ("euler_a", "Euler a, sample_euler_ancestral, EulerAncestralDiscreteScheduler, euler_a, euler-ancestral"),
        ("heun", "Heun, sample_heun, HeunDiscreteScheduler, heun"),
        ("lms", "LMS, sample_lms, LMSDiscreteScheduler, lms"),
        ("dpm2", "DPM2, sample_dpm_2, KDPM2Discrete, KDPM2DiscreteScheduler, dpm2, kdpm_2"),
        ("dpm2_a", "DPM2 a, sample_dpm_2_ancestral, KDPM2AncestralDiscrete, KDPM2AncestralDiscreteScheduler, kdpm_2_a"),
        ("dpmpp_2s_a", "DPM++ 2S a, sample_dpmpp_2s_ancestral, dpm++2s_a"),
        ("dpmpp_2m", "DPM++ 2M, sample_dpmpp_2m, DPMSolverMultistep, DPMSolverMultistepScheduler, dpm++2m, dpmpp_2m"),
        ("dpmpp_2m_sde", "DPM++ 2M SDE, sample_dpmpp_2m_sde, dpm++2m_sde, dpmpp_2m_sde"),
        ("dpmpp_3m", "dpmpp_3m, DPM++ 3M"),
        ("dpmpp_3m_sde", "DPM++ 3M SDE, sample_dpmpp_3m_sde"),
        ("dpmpp_sde", "DPM++ SDE, sample_dpmpp_sde, DPMSolverSDEScheduler, DPMSolverSDE, dpmpp_sde"),
        ("ddim", "DDIM, DDIMScheduler, ddim"),
        ("pndm", "PLMS, PNDMScheduler, pndm, PNDM"),
        ("unipc", "UniPC, unipc, UniPCMultistep, UniPCMultistepScheduler"),
        ("ddpm", "ddpm, DDPM, DDPMScheduler"),
        ("lcm", "sample_lcm, LCMScheduler, lcm, LCM"),
        ("res_multistep", "RES multistep, sample_res_multistep, res_multistep"),
        ("res_multistep_a", "RES multistep a, sample_res_multistep_ancestral, res_multistep_ancestral"),
        ("res_2s", "RES 2S, res_2s"),
        ("exp_heun", "Exp Heun, exp_heun_2_x0, sample_exp_heun_2_x0"),
        ("exp_heun_sde", "Exp Heun SDE, exp_heun_2_x0_sde"),
        ("seeds_2", "SEEDS-2, sample_seeds_2, seeds_2"),
        ("seeds_3", "SEEDS-3, sample_seeds_3, seeds_3"),
        ("er_sde", "ER SDE, sample_er_sde, er_sde, ER-SDE"),
        ("sa_solver", "SA-Solver, sample_sa_solver, SASolverScheduler, sa_solver"),
        ("sa_solver_pece", "sample_sa_solver_pece, sa_solver_pece"),
        ("deis", "DEIS, DEISMultistep, DEISMultistepScheduler, deis"),
        ("ipndm", "iPNDM, IPNDMScheduler, sample_ipndm, ipndm"),
        ("lms_x0", "LMS x0, ipndm_v, sample_ipndm_v"),
        ("euler_ge", "Euler GE, gradient_estimation, sample_gradient_estimation, euler_ge"),
        ("heunpp2", "Heun++ 2, sample_heunpp2"),
        ("dpmpp_2m_cfg_pp", "DPM++ 2M CFG++, sample_dpmpp_2m_cfg_pp"),
        ("res_multistep_a_cfg_pp", "res_multistep_ancestral_cfg_pp"),
        ("euler_ge_cfg_pp", "gradient_estimation_cfg_pp"),
        ("euler_cfg_pp", "Euler CFG++, sample_euler_cfg_pp, euler_cfg_pp"),
        ("euler_a_cfg_pp", "Euler a CFG++, sample_euler_ancestral_cfg_pp, euler_a_cfg_pp"),
    ],
)
def test_every_name_of_a_sampler(row: str, others: str) -> None:
    for name in others.split(", "):
        assert aliases.sampler(name) == aliases.Named(row), name
        assert aliases.sampler(f"{name} Karras") == aliases.Named(row, "karras"), name


def test_each_row_has_its_title() -> None:
    for name, row in SAMPLERS.items():
        assert aliases.sampler(name).row == aliases.sampler(row.title).row == name


def test_names_that_say_more() -> None:
    assert aliases.sampler("k_euler_a") == aliases.Named("euler_a")
    assert aliases.sampler("k_dpm_2") == aliases.Named("dpm2")
    assert (
        aliases.sampler("euler_k")
        == aliases.sampler("dpmpp_2m_k")._replace(row="euler")
        == aliases.Named("euler", "karras")
    )
    assert aliases.sampler("DPM++ 2M SDE Exponential") == aliases.Named("dpmpp_2m_sde", "exponential")
    assert aliases.sampler("ddim_trailing") == aliases.Named("ddim", "trailing")
    assert aliases.sampler("dpmpp_2s") == aliases.Named("dpmpp_2s_a", eta=0.0)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("DPM fast", "dpmpp_2s_a"),
        ("sample_dpm_fast", "dpmpp_2s_a"),
        ("sample_dpm_adaptive", "dpm2"),
        ("DPM adaptive Karras", "dpm2"),
        ("DPMSolverSinglestepScheduler", "dpmpp_2s_a"),
        ("TCDScheduler", "lcm"),
        ("tcd", "lcm"),
        ("DPM++ 2M v2", "dpmpp_2m"),
        ("sample_dpmpp_2s_ancestral_cfg_pp", "euler_cfg_pp"),
        ("eulr", "euler"),
        ("dpmpp2mm", "dpmpp_2m"),
    ],
)
def test_samplers_without_a_row(name: str, near: str) -> None:
    with pytest.raises(DifftoolError, match=f"'{near}'") as caught:
        aliases.sampler(name)
    assert caught.value.code == Exit.USAGE


@pytest.mark.parametrize("name", ["", "karras", "Karras", "sample", "scheduler", "++", "🙂"])
def test_no_sampler_at_all(name: str) -> None:
    with pytest.raises(DifftoolError, match="unknown sampler"):
        aliases.sampler(name)


def test_schedules() -> None:
    for name in SPACINGS:
        assert aliases.schedule(name) == aliases.schedule(name.upper().replace("_", "-")) == name
    assert aliases.schedule("Automatic") is aliases.schedule("native") is None
    for name in ("Uniform", "discrete"):
        assert aliases.schedule(name) == "linspace"
    for name in ("SGM Uniform", "sgm-uniform", "SgmUniform"):
        assert aliases.schedule(name) == "sgm_uniform"
    for name in ("karras", "exponential", "beta"):
        assert aliases.schedule(f"use_{name}_sigmas") == aliases.schedule(name.upper()) == name
    assert aliases.schedule("use_lu_lambdas") == "lu"
    assert aliases.schedule("KL Optimal") == aliases.schedule("kl-optimal") == "kl_optimal"
    assert aliases.schedule("Align Your Steps") == aliases.schedule("AlignYourSteps") == "ays"
    for name, near in (("Align Your Steps GITS", "gits"), ("lcm", "trailing")):
        with pytest.raises(DifftoolError, match=f"nearest is '{near}'"):
            aliases.schedule(name)
    for name, near in (("trailling", "trailing"), ("beta58", "beta57"), ("bong_tangents", "bong_tangent")):
        with pytest.raises(DifftoolError, match=f"did you mean '{near}'") as caught:
            aliases.schedule(name)
        assert caught.value.code == Exit.USAGE
