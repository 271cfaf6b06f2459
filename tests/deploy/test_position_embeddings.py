import pytest
import torch
from timm.layers import resample_abs_pos_embed

from lesionseg.deploy.position_embeddings import resample


@pytest.mark.parametrize("size", [(8, 8), (12, 16), (3, 5), (40, 9), (1, 30)], ids=str)
def test_matrices_resample_as_timm_does(size):
    positions = torch.randn(1, 1 + 8 * 8, 6, generator=torch.Generator().manual_seed(0))
    expected = resample_abs_pos_embed(positions, list(size), [8, 8], num_prefix_tokens=1)
    torch.testing.assert_close(resample(positions, size, (8, 8), 1), expected, rtol=0, atol=1e-5)
