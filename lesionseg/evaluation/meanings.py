"""What each score says, in a sentence for those who read a report."""

from lesionseg.evaluation.scores import JACCARD_THRESHOLD

# Of one image, and of a mean over images.
OF_SCORE = {
    "jaccard": "Overlap of the predicted and the true lesion: the area of both together that they share. 1 is the same "
    "mask, 0 no common pixel. Also called IoU.",
    "dice": "Twice the shared area over the sum of both areas. It ranks masks as Jaccard does, and is never lower.",
    "threshold_jaccard": f"Jaccard, but 0 for every image below {JACCARD_THRESHOLD}: by it the ISIC challenge of 2018 "
    "ranks, as a lesion that is mostly missed is a failure.",
    "accuracy": "The share of all pixels that are right. With small lesions it is high even where nothing is found.",
    "sensitivity": "The share of the true lesion that was found. Low: lesions are missed or drawn too small.",
    "specificity": "The share of the true skin that was left free. Low: skin is taken for lesion.",
    "precision": "The share of what was predicted as lesion that is lesion. Low: masks are too large.",
    "recall": "The share of the true lesion that was found; the same as sensitivity.",
    "iou": "The shared area over the area of both together; the same as Jaccard.",
}
# Over the pixels of all images together, where a large lesion counts more than a small one.
OF_POOLED = {
    "mIoU": "Mean of the IoU of skin and lesion, over the pixels of all images together, as MMSegmentation reports it.",
    "mDice": "Mean of the Dice of skin and lesion, over the pixels of all images together.",
    "aAcc": "The share of all pixels of all images that are right.",
    "IoU.background": "IoU of the skin, over the pixels of all images together.",
    "IoU.lesion": "IoU of the lesion, over the pixels of all images together: large lesions count more than small.",
    "Dice.background": "Dice of the skin, over the pixels of all images together.",
    "Dice.lesion": "Dice of the lesion, over the pixels of all images together.",
}
OF_COCO = {
    "AP": "Average precision: how well instances are found and ranked by their score, averaged over the overlaps from "
    "0.50 to 0.95 that count as found.",
    "AP50": "Average precision where an overlap of 0.50 counts as found.",
    "AP75": "Average precision where an overlap of 0.75 counts as found.",
}
# How sure a method is of a mask, before anybody has looked at the truth.
OF_NUMBER = {
    "soft_dice": "Dice of the mask and the soft mask: 1 where the network is sure of every pixel of the lesion.",
    "flips": "Mean Dice between the masks of the image and its flipped copies: 1 where all are the same.",
    "members": "Mean Dice between the masks of an ensemble's networks: 1 where all found the same.",
    "score": "Score of the best instance that makes up the mask.",
    "expected_jaccard": "The Jaccard that the other numbers let expect, by images whose true masks are known.",
}


def words(name: str) -> str:
    """How a score is called where people read it.

    Example:
        >>> words("threshold_jaccard"), words("iou"), words("mIoU")
        ('threshold Jaccard', 'IoU', 'mIoU')
    """
    return name.replace("_", " ").replace("jaccard", "Jaccard").replace("dice", "Dice").replace("iou", "IoU")


# By whatever name a table has for a score.
MEANINGS = {
    **OF_POOLED,
    **{f"pooled {name}": meaning for name, meaning in OF_POOLED.items()},
    **OF_COCO,
    **{
        f"{kind} mAP{name[2:] and ' '}{name[2:]}": meaning
        for kind in ("bbox", "segm")
        for name, meaning in OF_COCO.items()
    },
    **{name.replace("_", " "): meaning for name, meaning in OF_SCORE.items()},
    **{words(name): meaning for name, meaning in OF_SCORE.items()},
}
OF_FAILURES = {
    **{words(name): meaning for name, meaning in OF_NUMBER.items()},
    "AUROC": f"How often the number is higher on an image with a Jaccard of {JACCARD_THRESHOLD} or more than on one "
    "below: 1 tells all apart, 0.5 is chance.",
    "AURC": "Area under the risk-coverage curve: what is lost of the Jaccard where one image is kept, two, and so on "
    "to all, the surest first; the mean of these. Less is better.",
}
