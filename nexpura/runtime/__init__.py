"""What runs under the product: the embedded database, the keys, the parent of `nexpura up`, the demo.

Nothing here knows Django or any other part of the product, so that it can set the stage before they load.
"""
