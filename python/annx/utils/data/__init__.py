"""Datasets, samplers and the loader, with the names and arguments of ``torch.utils.data``."""

from annx.utils.data._collate import default_collate as default_collate
from annx.utils.data._dataset import ConcatDataset as ConcatDataset
from annx.utils.data._dataset import Dataset as Dataset
from annx.utils.data._dataset import Subset as Subset
from annx.utils.data._dataset import TensorDataset as TensorDataset
from annx.utils.data._dataset import random_split as random_split
from annx.utils.data._generator import Generator as Generator
from annx.utils.data._loader import DataLoader as DataLoader
from annx.utils.data._sampler import BatchSampler as BatchSampler
from annx.utils.data._sampler import RandomSampler as RandomSampler
from annx.utils.data._sampler import Sampler as Sampler
from annx.utils.data._sampler import SequentialSampler as SequentialSampler
from annx.utils.data._sampler import SubsetRandomSampler as SubsetRandomSampler

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "Generator",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "default_collate",
    "random_split",
]
