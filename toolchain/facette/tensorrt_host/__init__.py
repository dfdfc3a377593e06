"""TensorRT's own parser and builder on a workstation without a GPU: what will it make of a Jetson's graph?

TensorRT for RTX is the one TensorRT whose libraries compile for a GPU that isn't there. Its compiler isn't JetPack's: what it
refuses and how it fuses are the best that can be known without the board, and times can't be known at all.
"""
