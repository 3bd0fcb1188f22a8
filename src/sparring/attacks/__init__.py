"""All attacks by name: `sparring.attacks.pgd`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # For editors, which then know the settings of each; the registry finds attacks without these lines.
    from sparring.attacks.attack import Attack
    from sparring.attacks.evasion.control.blur import blur as blur
    from sparring.attacks.evasion.control.contrast import contrast as contrast
    from sparring.attacks.evasion.control.corruption import corruption as corruption
    from sparring.attacks.evasion.control.noise import noise as noise
    from sparring.attacks.evasion.control.salt_and_pepper import salt_and_pepper as salt_and_pepper
    from sparring.attacks.evasion.discrete.coordinate import coordinate as coordinate
    from sparring.attacks.evasion.discrete.greedy import greedy as greedy
    from sparring.attacks.evasion.gradient.apgd import apgd as apgd
    from sparring.attacks.evasion.gradient.apgd import apgd_t as apgd_t
    from sparring.attacks.evasion.gradient.apgd_l1 import apgd_l1 as apgd_l1
    from sparring.attacks.evasion.gradient.apgd_l1 import apgd_l1_t as apgd_l1_t
    from sparring.attacks.evasion.gradient.fgsm import fgsm as fgsm
    from sparring.attacks.evasion.gradient.md import md as md
    from sparring.attacks.evasion.gradient.multi_targeted import multi_targeted as multi_targeted
    from sparring.attacks.evasion.gradient.odi import odi as odi
    from sparring.attacks.evasion.gradient.pgd import pgd as pgd
    from sparring.attacks.evasion.gradient.segpgd import segpgd as segpgd
    from sparring.attacks.evasion.minnorm.brendel_bethge import brendel_bethge as brendel_bethge
    from sparring.attacks.evasion.minnorm.cw import cw as cw
    from sparring.attacks.evasion.minnorm.cw_linf import cw_linf as cw_linf
    from sparring.attacks.evasion.minnorm.ddn import ddn as ddn
    from sparring.attacks.evasion.minnorm.deepfool import deepfool as deepfool
    from sparring.attacks.evasion.minnorm.ead import ead as ead
    from sparring.attacks.evasion.minnorm.fab import fab as fab
    from sparring.attacks.evasion.minnorm.fab import fab_t as fab_t
    from sparring.attacks.evasion.minnorm.fmn import fmn as fmn
    from sparring.attacks.evasion.minnorm.jsma import jsma as jsma
    from sparring.attacks.evasion.minnorm.minimal import minimal as minimal
    from sparring.attacks.evasion.minnorm.pdpgd import pdpgd as pdpgd
    from sparring.attacks.evasion.minnorm.sigma_zero import sigma_zero as sigma_zero
    from sparring.attacks.evasion.minnorm.superdeepfool import superdeepfool as superdeepfool
    from sparring.attacks.evasion.query.boundary import boundary as boundary
    from sparring.attacks.evasion.query.cmaes import cmaes as cmaes
    from sparring.attacks.evasion.query.genetic import genetic as genetic
    from sparring.attacks.evasion.query.hopskipjump import hopskipjump as hopskipjump
    from sparring.attacks.evasion.query.nes import nes as nes
    from sparring.attacks.evasion.query.one_pixel import one_pixel as one_pixel
    from sparring.attacks.evasion.query.one_pixel import threshold as threshold
    from sparring.attacks.evasion.query.rays import rays as rays
    from sparring.attacks.evasion.query.sign_flip import sign_flip as sign_flip
    from sparring.attacks.evasion.query.signhunter import signhunter as signhunter
    from sparring.attacks.evasion.query.simba import simba as simba
    from sparring.attacks.evasion.query.sparse_rs import sparse_rs as sparse_rs
    from sparring.attacks.evasion.query.sparse_rs_patch import sparse_rs_patch as sparse_rs_patch
    from sparring.attacks.evasion.query.square import square as square
    from sparring.attacks.evasion.query.square_l1 import square_l1 as square_l1
    from sparring.attacks.evasion.query.square_l2 import square_l2 as square_l2
    from sparring.attacks.evasion.query.surfree import surfree as surfree
    from sparring.attacks.evasion.spatial.recoloradv import recoloradv as recoloradv
    from sparring.attacks.evasion.spatial.spatial_grid import spatial_grid as spatial_grid
    from sparring.attacks.evasion.spatial.spatial_random import spatial_random as spatial_random
    from sparring.attacks.evasion.spatial.stadv import stadv as stadv


def __getattr__(name: str) -> "Attack":
    from sparring.core.registry import everything, find

    if name.startswith("_"):
        raise AttributeError(name)
    if name not in everything("attack"):
        try:
            find("attack", name)
        except ValueError as error:
            raise AttributeError(str(error)) from None
    return find("attack", name)


def __dir__() -> list[str]:
    from sparring.core.registry import everything

    return list(everything("attack"))
