"""What is known of colours beforehand. Without numpy."""

# ImageNet's statistics by colour, in [0, 1], which the paper's code uses for CIFAR-10 too.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
