"""The gradient of the clip loss as its formula reads: leaf by leaf, token by token."""

import torch


def plain_gradient(model, trees, advantages, low=0.2, high=0.28):
    """The mean gradient by parameter name, the mean loss, the number of tokens; no padding, no
    batching, nothing of the trainer."""
    terms, count = [], 0
    for tree, advantage in zip(trees, advantages, strict=True):
        for leaf in range(len(tree.leaves)):
            response = tree.leaf_tokens(leaf)
            tokens = torch.tensor([*tree.prompt, *response]).long()[None]
            logits = model(tokens).logits[0] / tree.temperature
            old = torch.tensor(tree.leaf_logprobs(leaf))
            for t, token in enumerate(response):
                position = len(tree.prompt) + t - 1
                new = torch.log_softmax(logits[position], -1)[int(token)]
                ratio = torch.exp(new - old[t])
                value = float(advantage[leaf])
                clipped = torch.clamp(ratio, 1 - low, 1 + high)
                terms.append(-torch.min(ratio * value, clipped * value))
                count += 1
    loss = torch.stack(terms).sum() / count
    gradient = torch.autograd.grad(loss, list(model.parameters()))
    names = [name for name, _ in model.named_parameters()]
    return dict(zip(names, gradient, strict=True)), float(loss.detach()), count
