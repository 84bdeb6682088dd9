"""A policy in this process: its model, how it is sampled, packed and spread over processes. The only room below the engines that needs torch."""
