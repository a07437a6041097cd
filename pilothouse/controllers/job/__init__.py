"""The Job controller and the one that removes finished Jobs.

`plan` decides a round in three pure steps, `tracking` counts ended pods, `failure` judges them, `indexes` is the arithmetic of completion
indexes. Source: upstream `pkg/controller/job`, KEP-2307 (tracking with finalizers), KEP-3329, KEP-3850, KEP-3939, KEP-3998.
"""
