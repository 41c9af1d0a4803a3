"""Datasets and loaders: short for ``annx.utils.data``."""

from annx.utils.data import BatchSampler as BatchSampler
from annx.utils.data import ConcatDataset as ConcatDataset
from annx.utils.data import DataLoader as DataLoader
from annx.utils.data import Dataset as Dataset
from annx.utils.data import Generator as Generator
from annx.utils.data import RandomSampler as RandomSampler
from annx.utils.data import Sampler as Sampler
from annx.utils.data import SequentialSampler as SequentialSampler
from annx.utils.data import Subset as Subset
from annx.utils.data import SubsetRandomSampler as SubsetRandomSampler
from annx.utils.data import TensorDataset as TensorDataset
from annx.utils.data import default_collate as default_collate
from annx.utils.data import random_split as random_split
