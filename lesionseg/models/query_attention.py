"""The attention of a transformer decoder's queries, by torch's scaled dot product."""

from torch import Tensor, nn
from torch.nn import functional


def attend(
    attention: nn.Module, query: Tensor, query_pos: Tensor, key: Tensor, key_pos: Tensor, seen: Tensor | None = None
) -> Tensor:
    """Compute what mmcv's `MultiheadAttention` does, without its weights, which nobody looks at.

    Args:
        attention: with batches first; queries and keys of the same width.
        query: (images, queries, C).
        query_pos: their positions, of the same shape.
        key: (images, keys, C), also the values; the queries themselves, or others.
        key_pos: their positions, (1 or images, keys, C).
        seen: (images, queries, keys) bool, the keys that a query attends to, the same for all heads; None is all.

    Returns:
        (images, queries, C), the queries added.
    """
    inner = attention.attn
    heads, width = inner.num_heads, inner.embed_dim
    weight, bias = inner.in_proj_weight, inner.in_proj_bias
    if key is query:
        both = functional.linear(query + query_pos, weight[: 2 * width], bias[: 2 * width])
        projected = [*both.chunk(2, -1), functional.linear(key, weight[2 * width :], bias[2 * width :])]
    else:
        parts = zip((query + query_pos, key + key_pos, key), weight.chunk(3), bias.chunk(3), strict=True)
        projected = [functional.linear(*part) for part in parts]
    q, k, v = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in projected)
    found = functional.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=None if seen is None else seen[:, None].expand(-1, heads, -1, -1),
        dropout_p=inner.dropout if inner.training else 0.0,
    )
    found = inner.out_proj(found.transpose(1, 2).flatten(2))
    return query + attention.dropout_layer(attention.proj_drop(found))
